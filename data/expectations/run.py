"""Hold prepared data against its expectations with Great Expectations, and leave its data docs for the report."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from core import files
from core.errors import DataError
from data.expectations.checks import Check, checks
from data.records import DataCheck, DataChecks

SHOWN_ROWS = 3
SUMMARY = "summary.json"  # beside the docs, for the report


def run(table: pd.DataFrame, max_tokens: int, context_tokens: int, docs: Path) -> int:
    """Check `table` (see `table.build`), write the data docs into folder `docs`, return how many expectations hold.

    Raises DataError for the first that fails, with its name, the count and three offending rows. The docs are written
    either way. Nothing is sent anywhere.
    """
    os.environ["GX_ANALYTICS_ENABLED"] = "false"  # read when the library is imported
    import great_expectations as gx

    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    wanted = checks(max_tokens, context_tokens)
    with files.atomic_folder(docs) as folder:
        results = _validate(gx, table, wanted, folder)
        found = [_in_short(check, result, len(table)) for check, result in zip(wanted, results, strict=True)]
        DataChecks(version=gx.__version__, checks=found).save(folder / SUMMARY)
    for check, result in zip(wanted, results, strict=True):
        if not result.success:
            raise DataError(_message(check, result, table))
    return len(wanted)


def _validate(gx: Any, table: pd.DataFrame, wanted: Sequence[Check], docs: Path) -> list[Any]:
    """Results in the order of `wanted`; the site lands in `docs`."""
    from great_expectations.checkpoint import UpdateDataDocsAction

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    context.add_data_docs_site(
        "docs",
        {
            "class_name": "SiteBuilder",
            "show_how_to_buttons": False,
            "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
            "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(docs.absolute())},
        },
    )
    batch = context.data_sources.add_pandas("assay").add_dataframe_asset("prepared")
    suite = context.suites.add(gx.ExpectationSuite("prepared"))
    for place, check in enumerate(wanted):
        check.expectation.meta = {"name": check.name, "place": place}
        suite.add_expectation(check.expectation)
    validation = context.validation_definitions.add(
        gx.ValidationDefinition(name="prepared", data=batch.add_batch_definition_whole_dataframe("all"), suite=suite)
    )
    checkpoint = context.checkpoints.add(
        gx.Checkpoint(
            name="prepared",
            validation_definitions=[validation],
            actions=[UpdateDataDocsAction(name="docs", site_names=["docs"])],
            result_format={"result_format": "COMPLETE", "unexpected_index_column_names": ["id", "split"]},
        )
    )
    outcome = checkpoint.run(batch_parameters={"dataframe": table})
    results = next(iter(outcome.run_results.values())).results
    return sorted(results, key=lambda result: result.expectation_config.meta["place"])


def _in_short(check: Check, result: Any, items: int) -> DataCheck:
    unexpected = result.result.get("unexpected_count")
    return DataCheck(
        name=check.name, column=check.column, items=items, unexpected=unexpected, passed=bool(result.success)
    )


def _message(check: Check, result: Any, table: pd.DataFrame) -> str:
    name = f"expectation '{check.name}' ({result.expectation_config.type}) failed"
    if error := (result.exception_info or {}).get("exception_message"):
        return f"{name}: {error}; {check.remedy}"
    indices = result.result.get("unexpected_index_list")
    if check.column is None or not indices:
        return f"{name}: found {result.result.get('observed_value')}; {check.remedy}"
    ids = [index["id"] for index in indices]
    lines = []
    for row_id in list(dict.fromkeys(ids))[:SHOWN_ROWS]:
        for row in table[table["id"] == row_id].to_dict("records"):
            lines.append(
                f"{row['id']} ({row['split']}): {check.column} = {row[check.column]!r}, question "
                f"{str(row['question'])[:80]!r}, answer {str(row['answer'])[:40]!r}"
            )
    rows = "\n  ".join(lines[:SHOWN_ROWS])
    return f"{name} for {len(ids)} of {len(table)} items; {check.remedy}. For example\n  {rows}"
