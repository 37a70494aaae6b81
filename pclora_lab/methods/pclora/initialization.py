"""Where an adapter starts: residual starts take over what a low rank can of the base."""

import torch

from pclora_lab.methods.factorization import affine_factors, svd_factors
from pclora_lab.methods.input_moments import InputMoments, double
from pclora_lab.methods.pclora.layers import PCLoRAEmbedding, PCLoRALinear

__all__ = ["init_residual"]


def init_residual(layer: PCLoRALinear | PCLoRAEmbedding, moments: InputMoments | None) -> None:
    """Give a layer its residual start: ``svd`` without input moments, ``activation_svd`` with.

    C starts at b; with measured inputs at ``b + (W − BA) μ``, which also keeps the mean of what
    the low rank misses.
    """
    if layer.base is None:
        raise ValueError("the layer has no base any more: a residual start takes over a part of it")
    weight = layer.base.weight
    if isinstance(layer, PCLoRAEmbedding):
        # The table has tens of thousands of rows, but its Gram matrix is small.
        columns, rows = svd_factors(double(weight), layer.rank, driver="gram")
        return layer.start_from(rows.to(layer.A.dtype), columns.T.to(layer.A.dtype))
    bias = layer.base.bias
    if moments is None:
        A, B = svd_factors(weight, layer.rank)
        C = torch.zeros_like(layer.C) if bias is None else bias.detach()
    else:
        A, B, C = affine_factors(weight, bias, moments, layer.rank)
    # Rounded before they move, because copy_ on mps can't take a float64 source.
    return layer.start_from(A.to(weight.dtype), B.to(weight.dtype), C.to(weight.dtype))
