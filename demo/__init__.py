"""`python -m pipelines.demo`: approval, rollout and rollback to watch, on real parts in a scratch folder.

`sandbox` says where everything runs, `versions` what is rolled out, `startup` starts MLflow, the champion and the
relay, `gitlab_stand_in` runs the pipelines that an approval triggers. `scenario` is the order of events, `watch`
follows them, `view` shows them.
"""
