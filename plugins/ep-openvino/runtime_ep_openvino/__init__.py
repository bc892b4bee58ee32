"""The OpenVINO execution provider: partitions become models of Intel's inference engine."""
