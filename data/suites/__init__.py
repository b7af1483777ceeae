"""The suite contract. Each file here is one source of items; its file name is its `kind` in params.

A suite module has
- `class Options(BaseModel)`: checked before any work;
- `identity(options) -> dict[str, str]`, where it reads something that no code and no param tells, say a file of the
  user's: what tells that content from any other, by name (`host.digests.below(path)` for files and folders). It is
  asked in every run, by the stage `inputs`, and must be quick; DataError when it cannot be looked at;
- `items(options, count, seed) -> Iterator[Item]`: `count` items with distinct questions, the same for the same seed;
  fewer only where the source holds no more. The order is random and does not depend on `count`: what a smaller one
  gives is the beginning of what a larger one gives, so that a larger budget goes on where a smaller one ended
  (`Random.sample(rows, count)` breaks that; a seeded shuffle cut to `count` does not). `Item.suite` is the kind until
  `prepare` puts the suite's key in params there; `Item.scoring` names the file in data/scoring/ that says when a
  reply is right; items of one `Item.cluster` are not independent, and stay together.
"""
