"""`register` against a real MLflow store on SQLite: a version that loads elsewhere and answers, once per manifest."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core import paths
from core.errors import DataError, IntegrityError, NoVariantPassed, RegistryError
from models import manifest, tokenizer
from pipelines import params
from quantizers import Context, weight_only
from quantizers.parts import version
from registry import store
from registry.records import Registration
from runtimes import ort
from selection.records import Decision
from stages import register, report, select
from tests.report import fixtures, project

URI = "models:/assay@candidate"
PROMPT = "What is 12 + 34?"
TOKENS = 8
ASK = f"""
import json, mlflow
model = mlflow.pyfunc.load_model("{URI}")
print(json.dumps(model.predict(["{PROMPT}"], params={{"max_tokens": {TOKENS}}})))
"""


@pytest.fixture(scope="session")
def fresh_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database with its tables and nothing in them: making one takes seconds."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    before = os.environ.get("MLFLOW_TRACKING_URI")
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{path}"
    try:
        store.connect().search_registered_models()
    finally:
        os.environ.pop("MLFLOW_TRACKING_URI")
        if before is not None:
            os.environ["MLFLOW_TRACKING_URI"] = before
    return path


@pytest.fixture
def root(tmp_path: Path, tiny_qwen2: Path, fresh_store: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project in which `report` has run, on a store of its own at the default place."""
    import mlflow

    project.build(tmp_path, tiny_qwen2)
    monkeypatch.chdir(tmp_path)
    # Absolute, because MLflow keeps one engine per URI and the default is the same text in every test.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    shutil.copyfile(fresh_store, tmp_path / "mlflow.db")
    select.main()
    report.main()
    before = mlflow.get_tracking_uri()
    yield tmp_path
    mlflow.set_tracking_uri(before)


def again() -> Registration:
    register.main()
    return Registration.read(paths.REGISTRATION)


def decide_anew() -> None:
    select.main()
    report.main()


def spoil(root: Path, *names: str) -> None:
    """Let drift fail for these variants, and decide anew."""
    for name in names:
        project.save(
            root, fixtures.evaluation(name, verdict="fail", reason="lost 9 points"), fixtures.benchmark(name)
        )
    decide_anew()


def test_the_version_carries_its_evidence(root: Path) -> None:
    done = again()
    client = store.connect()
    version = client.get_model_version_by_alias("assay", "candidate")
    digest = manifest.digest(paths.VARIANTS / "int8-static")
    assert (done.created, done.model_version, done.manifest_sha256) == (True, 1, digest)
    assert version.description == Decision.read(paths.DECISION).sentence
    assert version.tags["manifest_sha256"] == digest
    assert version.tags["validation_status"] == "passed"
    assert {version.tags[f"verdict.{gate}"] for gate in ("integrity", "drift", "benchmark", "ttft_p95")} == {"pass"}
    assert {"git_commit", "dvc_lock_sha256", "evidence_run_id", "runtime", "variant"} <= version.tags.keys()
    shown = [entry.path for entry in client.list_artifacts(done.run_id, "report")]
    assert shown == ["report/index.html", "report/summary.md"]


def test_runs_compare_the_variants(root: Path) -> None:
    again()
    client = store.connect()
    runs = {run.info.run_name: run for run in client.search_runs([store.experiment(client)])}
    assert set(runs) == set(project.VARIANTS)
    run = runs["int8-static"].data
    assert run.params["quantizer"] == "none"
    assert run.params["margin_points"] == "1.0"
    measured = fixtures.benchmark("int8-static")
    assert run.metrics["output_tok_s_batch_16"] == pytest.approx(measured.workloads[-1].output_tok_s.median)
    assert {"accuracy", "delta_points", "kl_mean_nats", "itl_p50_ms", "artifact_mib", "peak_rss_mib"} <= set(
        run.metrics
    )
    for metric in fixtures.evaluation("int8-static").metrics:  # whatever it is called
        assert run.metrics[metric.name] == pytest.approx(metric.value)
        assert (f"{metric.name}_low" in run.metrics) == (metric.low is not None)
        assert (f"{metric.name}_reference" in run.metrics) == (metric.reference is not None)
    assert run.tags["verdict.drift"] == "pass"


def test_a_recipe_that_failed_is_a_run_with_its_reason_and_no_version(root: Path) -> None:
    folder, why = paths.VARIANTS / "int8-static", "quantize failed: ExportError: " + "wrong " * 2000
    shutil.rmtree(folder)
    failed = manifest.Failure(variant="int8-static", quantizer="none", error="ExportError", message=why[17:])
    failed.save(folder / manifest.FAILED)
    about: dict[str, Any] = {"manifest_sha256": "none", "status": "failed", "why_not_measured": why}
    nothing: dict[str, Any] = {"delta_points": None, "accuracy_variant": None, "metrics": [], "looks": []}
    evaluation = fixtures.evaluation("int8-static", **about, **nothing, verdict="fail", reason=why)
    evaluation.save(paths.EVALUATION / "int8-static.json")
    fixtures.benchmark("int8-static", 40, **about, workloads=[]).save(paths.BENCHMARK / "int8-static.json")
    decide_anew()
    assert again().variant == "fp32"
    client = store.connect()
    run = next(run for run in client.search_runs([store.experiment(client)]) if run.info.run_name == "int8-static")
    assert run.data.tags["failure"].startswith("quantize failed: ExportError: wrong wrong ")
    assert (run.data.tags["verdict.integrity"], run.data.tags["validation_status"]) == ("fail", "failed")
    assert (run.data.tags["manifest_sha256"], run.data.metrics) == ("none", {})
    (version,) = client.search_model_versions("name = 'assay'")
    assert version.tags["variant"] == "fp32"


def test_the_same_manifest_is_the_same_version_and_takes_the_alias_back(root: Path) -> None:
    first = again()
    client = store.connect()
    runs = len(client.search_runs([store.experiment(client)]))
    client.delete_registered_model_alias("assay", "candidate")
    second = again()
    assert second == first.model_copy(update={"created": False})
    assert int(client.get_model_version_by_alias("assay", "candidate").version) == 1
    assert len(client.search_model_versions("name = 'assay'")) == 1
    assert len(client.search_runs([store.experiment(client)])) == runs


def test_another_variant_is_another_version_and_the_old_one_stops_saying_it_passed(root: Path) -> None:
    again()
    spoil(root, "int8-static")
    second = again()
    assert (second.variant, second.model_version, second.created) == ("fp32", 2, True)
    client = store.connect()
    assert int(client.get_model_version_by_alias("assay", "candidate").version) == 2
    old = client.get_model_version("assay", "1")
    assert (old.tags["validation_status"], old.tags["verdict.drift"]) == ("failed", "fail")


def test_nothing_passed_registers_nothing_and_names_gate_and_variant(root: Path) -> None:
    again()
    paths.REGISTRATION.unlink()
    spoil(root, *project.VARIANTS)
    with pytest.raises(NoVariantPassed, match=r"fp32: drift failed \(lost 9 points\)") as caught:
        register.main()
    assert caught.value.exit_code == 3
    assert "int8-static: drift failed" in str(caught.value)
    assert not paths.REGISTRATION.exists()
    versions = store.connect().search_model_versions("name = 'assay'")
    assert [version.tags["validation_status"] for version in versions] == ["failed"]


def test_as_a_command_it_exits_with_3_even_without_a_registry(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(root, *project.VARIANTS)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////dev/null/mlflow.db")
    run = subprocess.run([sys.executable, "-m", "stages.register"], capture_output=True, text=True, check=False)
    assert run.returncode == 3
    assert "fp32: drift failed (lost 9 points)" in run.stderr
    assert "did not reach the registry" in run.stderr
    assert "Traceback" not in run.stderr


def test_a_folder_that_is_not_the_decision_s_is_refused(root: Path) -> None:
    folder = paths.VARIANTS / "int8-static"
    settings = params.load()
    manifest.write(
        folder, variant="int8-static", recipe=settings.recipe("fp32"), model_folder=folder, facts={"other": 1}
    )
    with pytest.raises(IntegrityError, match="the decision is about"):
        register.main()


def test_a_flipped_byte_is_refused_before_mlflow_hears_of_it(root: Path) -> None:
    file = paths.VARIANTS / "int8-static" / "tokenizer.json"
    file.write_bytes(file.read_bytes() + b" ")
    with pytest.raises(IntegrityError, match=r"changed: tokenizer\.json"):
        register.main()
    assert not store.connect().search_registered_models()


def test_without_a_report_nothing_is_registered(root: Path) -> None:
    (paths.REPORTS / "index.html").unlink()
    with pytest.raises(DataError, match=r"reports/index\.html not found"):
        register.main()


def test_a_store_that_cannot_be_reached_is_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////dev/null/mlflow.db")
    with pytest.raises(RegistryError, match=r"MLflow at sqlite:////dev/null/mlflow\.db"):
        register.main()


def test_a_version_whose_files_are_gone_is_not_passed_off_as_registered(root: Path) -> None:
    again()
    shutil.rmtree(next((root / "mlartifacts").rglob("artifacts/int8-static")))
    with pytest.raises(RegistryError, match="its files are gone"):
        register.main()


def test_a_byte_flipped_in_the_artifact_store_stops_the_load(root: Path) -> None:
    import mlflow

    again()
    file = next((root / "mlartifacts").rglob("artifacts/int8-static/model.safetensors"))
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(IntegrityError, match=r"changed: model\.safetensors"):
        mlflow.pyfunc.load_model(URI)


@pytest.mark.parametrize("workshop", ["qwen2"], indirect=True)
def test_an_onnx_variant_answers_elsewhere_as_it_answers_here(root: Path, workshop: Context, tmp_path: Path) -> None:
    """The whole way with a real quantized variant: another process, another folder, none of our code on its path."""
    settings = _with_onnx_variant(root, workshop)
    again()
    folder = paths.VARIANTS / "int8-static"
    words = tokenizer.load(folder)
    chat = [{"role": "user", "content": PROMPT}]
    ids = words.chat(chat)
    runtime = ort.load(folder, settings.machine.threads)
    expected = words.answer(ids, runtime.generate([ids], TOKENS)[0].token_ids, special=False)
    runtime.close()

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment: dict[str, Any] = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    run = subprocess.run(
        [sys.executable, "-c", ASK], cwd=elsewhere, env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout.splitlines()[-1]) == [expected]


def _with_onnx_variant(root: Path, workshop: Context) -> params.Params:
    """Replace int8-static by the workshop's model, quantized to 8 bits and served by onnxruntime-genai."""
    text = (root / "params.yaml").read_text()
    head, tail = text.split("  int8-static:\n")
    (root / "params.yaml").write_text(head + "  int8-static:\n" + tail.replace("runtime: torch", "runtime: ort", 1))
    settings = params.load()
    folder = paths.VARIANTS / "int8-static"
    shutil.rmtree(folder)
    folder.mkdir()
    facts = weight_only.quantize(workshop, weight_only.Options(bits=8, block_size=32), folder)
    recipe = settings.recipe("int8-static")
    version.finish("int8-static", recipe, workshop, folder, facts)
    about = {"manifest_sha256": manifest.digest(folder), "runtime": "ort"}
    fixtures.evaluation("int8-static", **about).save(paths.EVALUATION / "int8-static.json")
    fixtures.benchmark("int8-static", 40, **about).save(paths.BENCHMARK / "int8-static.json")
    decide_anew()
    return settings
