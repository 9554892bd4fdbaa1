"""Which operators of ``op_db`` are run: those of networks, without random ones, decompositions of
matrices, Fourier transforms and what is no operator on tensors of numbers."""

from __future__ import annotations

_NAMES = """
__getitem__ __rdiv__ __rmatmul__ __rpow__ __rsub__ _upsample_bilinear2d_aa abs acos acosh add
addbmm addcdiv addcmul addmm addmv addr all amax amin aminmax angle any argmax argmin argsort asin
asinh atan atan2 atanh atleast_1d atleast_2d atleast_3d baddbmm block_diag bmm broadcast_to
bucketize cat cdist ceil chunk clamp clamp_max clamp_min clone column_stack constant_pad_nd
contiguous copysign corrcoef cos cosh count_nonzero cov cross cummax cummin cumprod cumsum
cumulative_trapezoid diag diag_embed diagonal diff digamma dist div dot dsplit dstack einsum eq
erf erfc erfinv exp exp2 expand expand_as expm1 fill flatten flip fliplr flipud float_power floor
floor_divide fmax fmin fmod frac full_like gather ge gt heaviside histc hsplit hstack hypot i0
index_add index_copy index_fill index_put index_select inner isclose isfinite isinf isnan kron
kthvalue ldexp le lerp lgamma linalg.cholesky linalg.cross linalg.det linalg.inv
linalg.matrix_power linalg.multi_dot linalg.norm linalg.vecdot linalg.vector_norm log log10 log1p
log2 log_softmax logaddexp logaddexp2 logcumsumexp logical_and logical_not logical_or logical_xor
logit logsumexp lt mH mT masked_fill masked_scatter masked_select matmul max maximum mean median
meshgrid min minimum mm mode movedim msort mul mv nan_to_num nanmean nansum narrow
native_batch_norm native_layer_norm ne neg new_zeros norm ones_like outer permute polygamma
positive pow prod quantile ravel real reciprocal remainder renorm repeat repeat_interleave reshape
resize_ roll rot90 round rsqrt rsub scatter scatter_add scatter_reduce searchsorted select
select_scatter sgn sigmoid sign signbit sin sinc sinh slice slice_scatter softmax sort
special.entr special.erfcx special.log_ndtr special.ndtr special.xlog1py split split_with_sizes
sqrt square squeeze stack std std_mean sub sum t take take_along_dim tan tanh tensor_split
tensordot tile topk trace transpose trapezoid tril triu true_divide trunc unbind unflatten unfold
unfold_copy unsqueeze var var_mean vdot view view_as vsplit vstack where xlogy zeros_like
"""

#: Random ones, and one with more state than arguments.
_NO_FUNCTIONAL = (
    "dropout", "ctc_loss", "feature_alpha", "rrelu", "fractional_max", "multi_head_attention",
)  # fmt: skip
OPERATORS = frozenset(_NAMES.split())


def is_run(name: str) -> bool:
    functional = name.startswith("nn.functional.")
    return name in OPERATORS or (functional and not any(word in name for word in _NO_FUNCTIONAL))
