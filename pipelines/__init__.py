"""The pipelines that come with Millrace."""
