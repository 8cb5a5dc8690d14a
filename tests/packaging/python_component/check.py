"""Run in the folder of the built module."""

import consumer

before = consumer.live()
capsule = consumer.make()
assert "dltensor_versioned" in repr(capsule)
assert consumer.live() == before + 1
del capsule
assert consumer.live() == before
