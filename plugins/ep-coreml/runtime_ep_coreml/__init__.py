"""The Core ML execution provider: claimed subgraphs become ML Programs."""
