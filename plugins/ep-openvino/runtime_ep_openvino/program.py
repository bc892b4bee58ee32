"""draft"""

import numpy as np
from runtime.valuetypes import numpy_dtype

from runtime_ep_openvino.frontend import tensor_over


class Program:
    concurrent = True

    def __init__(self, cm, part):
        self.cm = cm
        self.part = part
        self.weights = {}
        self.facts = {}
        names = {n: i for i, p in enumerate(cm.inputs) for n in p.get_names()}
        self.places = [names.get(v.name) for v in part.inputs]
        self.consts = [v.constant() for v in part.constants]

    def run(self, inputs, outputs, context):
        r = self.cm.create_infer_request()
        keep = []
        for p, v, x in zip(self.places, self.part.inputs, inputs):
            if p is not None:
                x = np.ascontiguousarray(x)
                keep.append(x)
                r.set_input_tensor(p, tensor_over(x, v.dtype))
        r.infer()
        res = []
        for i, v in enumerate(self.part.outputs):
            a = np.array(r.get_output_tensor(i).data)
            d = numpy_dtype(v.dtype)
            if a.dtype != d:
                a = a.view(d)
            res.append(a)
        return res
