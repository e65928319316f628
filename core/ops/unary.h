// Functions of one tensor, element by element: elementary functions and activations. NaN in gives
// NaN out, and ±Inf gives the limit. All can be differentiated to any order; at a kink the gradient
// is the one stated.
#ifndef TAPESTRY_CORE_OPS_UNARY_H_
#define TAPESTRY_CORE_OPS_UNARY_H_

#include <string_view>

#include "core/tensor.h"

namespace tapestry {

/// eˣ; Inf above 88.7 in float, 709.7 in double.
Tensor exp(const Tensor& x);
/// ln x; −Inf at 0, NaN below.
Tensor log(const Tensor& x);
/// ln(1 + x), accurate for small x; −Inf at −1, NaN below.
Tensor log1p(const Tensor& x);
/// √x; NaN below 0.
Tensor sqrt(const Tensor& x);
/// 1/√x, correctly rounded root and quotient; Inf at 0.
Tensor rsqrt(const Tensor& x);
/// 1/x
Tensor reciprocal(const Tensor& x);
/// x²
Tensor square(const Tensor& x);
/// |x|; gradient 0 at 0.
Tensor abs(const Tensor& x);
/// −1, 0 or 1; its gradient is 0 everywhere.
Tensor sign(const Tensor& x);
Tensor sin(const Tensor& x);
Tensor cos(const Tensor& x);
Tensor tanh(const Tensor& x);
/// The error function 2/√π·∫₀ˣ e^(−t²) dt.
Tensor erf(const Tensor& x);

/// 1/(1 + e⁻ˣ)
Tensor sigmoid(const Tensor& x);
/// ln(1/(1 + e⁻ˣ)), without overflow.
Tensor log_sigmoid(const Tensor& x);
/// max(x, 0); gradient 0 at 0.
Tensor relu(const Tensor& x);
/// x above 0, slope·x else; the gradient at 0 is the slope. Maas et al. 2013.
Tensor leaky_relu(const Tensor& x, Real slope = Real(0.01));
/// leaky_relu with learned slopes: one for all, or one for each channel (axis 1). He et al. 2015.
///
/// Shapes: x (N, C, …), weight (1) or (C). Throws Error for other weights.
Tensor prelu(const Tensor& x, const Tensor& weight);
/// x above 0, α·(eˣ − 1) else. Clevert et al. 2015.
Tensor elu(const Tensor& x, Real alpha = 1);
/// 1.0507…·elu(x, 1.6733…), the constants of "Self-normalizing neural networks", Klambauer et al.
/// 2017.
Tensor selu(const Tensor& x);

/// How gelu() computes the normal distribution's Φ: exactly, or by the tanh formula of the paper,
/// as GPT-2 does.
enum class GeluForm { kExact, kTanh };
/// "none" (exact) or "tanh", PyTorch's names; Throws Error with the list for anything else.
GeluForm gelu_form(std::string_view name);
/// x·Φ(x); kTanh: x/2·(1 + tanh(√(2/π)·(x + 0.044715·x³))). Hendrycks & Gimpel 2016.
Tensor gelu(const Tensor& x, GeluForm form = GeluForm::kExact);
/// x·sigmoid(x), also called swish. Elfwing et al. 2017.
Tensor silu(const Tensor& x);
/// x·tanh(softplus(x)). Misra 2019.
Tensor mish(const Tensor& x);
/// ln(1 + e^(β·x))/β; x itself where β·x > threshold, where the difference is below rounding.
Tensor softplus(const Tensor& x, Real beta = 1, Real threshold = 20);
/// x/(1 + |x|)
Tensor softsign(const Tensor& x);
/// clamp(x + 3, 0, 6)/6; gradient 0 at ±3.
Tensor hardsigmoid(const Tensor& x);
/// x·clamp(x + 3, 0, 6)/6; gradient x/3 + ½ on [−3, 3], bounds included. Howard et al. 2019.
Tensor hardswish(const Tensor& x);
/// x limited to [low, high]; the gradient passes at the bounds. Throws Error when low > high.
Tensor clamp(const Tensor& x, Real low, Real high);
/// clamp() whose gradient is 0 at the bounds, as PyTorch's hardtanh.
Tensor hardtanh(const Tensor& x, Real low = -1, Real high = 1);

}  // namespace tapestry

#endif  // TAPESTRY_CORE_OPS_UNARY_H_
