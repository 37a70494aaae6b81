"""One run in several processes: ``launch`` joins them, ``ranks`` keeps them in step, ``shards``
gives each its part of a batch and adds the gradients up."""
