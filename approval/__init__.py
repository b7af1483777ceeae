"""From the alias `approved` to a pipeline: what an approval is, its ledger, MLflow's webhook, GitLab's trigger."""
