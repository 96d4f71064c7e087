-- Which checkpoints an execution has is asked without reading them: each may be large.
CREATE INDEX checkpoints_kept ON checkpoints (execution, at) WHERE is_kept;
CREATE INDEX checkpoints_by_base ON checkpoints (execution, base, at, is_kept);
