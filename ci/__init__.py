"""What the GitLab jobs call beside the developer's own commands; the jobs are the YAML files here."""
