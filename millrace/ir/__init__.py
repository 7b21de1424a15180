"""Compiled pipelines as data: KFP's PipelineSpec, read and checked."""
