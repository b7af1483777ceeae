"""`python -m pipelines.demo`: approval, rollout and rollback to watch, on real parts in a scratch folder.

`place` says where everything runs, `versions` what is rolled out, `registry_server` is MLflow, `pipeline` carries an
approval out, `watch` looks, `view` shows, `story` tells what comes next.
"""
