"""AcmeExecutionProvider: MatMul + Add + Relu in one call, on a simulated device."""
