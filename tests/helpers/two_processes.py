"""One of two JAX processes that share the batches of a loader; prints what it sees of them."""

import json
import sys

import jax
import numpy as np

from jaxdl import data
from jaxdl.data.prefetch import put_on_devices

if __name__ == "__main__":
    port, index = sys.argv[1:]
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"localhost:{port}", 2, int(index))
    mesh = jax.make_mesh((2,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("batch"))
    everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    gather = jax.jit(lambda batch: batch, out_shardings=everywhere)
    source = data.ArraySource({"x": np.arange(22)})
    loader = data.Loader(source, batch_size=8, shuffle=True, key=6, shard="process")
    batches = [gather(batch) for batch in put_on_devices(loader, sharding=sharding)]
    print(json.dumps([{name: np.asarray(x).tolist() for name, x in b.items()} for b in batches]))
