"""A real Envoy in front of the two slots.

Three JSON files in one folder: `envoy.json` (bootstrap), `clusters/clusters.json` (CDS), `routes/routes.json` (RDS).
The route is the only thing that ever changes: one atomic rename, and its `version_info` is the generation. What is
live is what Envoy reports, never what the file says. `render` is pure; `admin` asks; `gateway` starts, routes, stops.
"""
