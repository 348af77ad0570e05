#include "ops/linear.h"

#include <mutex>

#include "base/error.h"
#include "base/team.h"
#include "ops/arguments.h"
#include "ops/device.h"

namespace lp {
namespace {

/// Calls visit(packed position, row, column) for the elements of a packed [depth, n] matrix, a strip's share
/// at a time.
template <class Visit>
void over_strips(int64_t depth, int64_t n, const Visit& visit) {
  const int64_t size = strip_depth(depth) * kStrip;
  parallel_tasks(strips_of(n), [&](int64_t strip) {
    const int64_t first = strip * kStrip, width = std::min(kStrip, n - first);
    for (int64_t k = 0; k < depth; ++k)
      for (int64_t c = 0; c < width; ++c)
        visit(strip * size + (k / 2 * kStrip + c) * 2 + k % 2, k, first + c);
  });
}

/// Strips of b [depth, n] (bf16, any strides) for `product`.
Tensor pack(const Tensor& b) {
  const int64_t depth = b.size(0), n = b.size(1), down = b.stride(0), across = b.stride(1);
  Tensor panels = at::zeros({strip_depth(depth) * strips_of(n) * kStrip}, at::kBFloat16);
  const auto* from = static_cast<const uint16_t*>(b.const_data_ptr());
  auto* to = static_cast<uint16_t*>(panels.mutable_data_ptr());
  over_strips(depth, n, [=](int64_t at, int64_t k, int64_t c) { to[at] = from[k * down + c * across]; });
  return panels;
}

bool packs(at::ScalarType dtype) { return dtype == at::kBFloat16 && kernels().product; }

// Rows that a thread takes at once, about: a panel stays in its cache over them. Shares are of whole tiles,
// and, where there are rows enough, as many for each thread, whose rows are the same in all operations.
constexpr int64_t kRowShare = 192, kLeastRows = 96;

void multiply(const Product& a, int64_t rows) {
  if (rows == 0) return;
  const int64_t panels = (a.n + kPanel - 1) / kPanel;
  const int64_t takers = std::clamp<int64_t>(rows / kLeastRows, 1, Team::current().threads());
  const int64_t shares = (rows + kRowShare * takers - 1) / (kRowShare * takers) * takers;
  const int64_t tile = kernels().product_rows, each = ((rows + shares - 1) / shares + tile - 1) / tile * tile;
  parallel_tasks(panels * shares, [&](int64_t i) {
    const int64_t begin = i / panels * each;
    if (begin < rows) kernels().product(a, i % panels, begin, std::min(rows, begin + each));
  });
}

/// What is summed.
struct Sum {
  std::vector<ProductSegment> segments;
  std::vector<RankTerm> terms;

  /// @param apart whether norms are asked for of what it adds
  void add(const LowRank& b, bool apart) {
    const int64_t rank = b.w->w().size(0);
    RankTerm term{b.p.p.const_data_ptr<float>(),
                  b.w->w().const_data_ptr<float>(),
                  rank,
                  static_cast<float>(b.scale),
                  b.dropout,
                  {}};
    if (apart || !b.p.split.defined() || b.p.p.size(0) == 0) {
      terms.push_back(term);
      return;
    }
    term.split = {b.p.split.const_data_ptr(), b.w->strips().const_data_ptr(), strip_depth(3 * rank)};
    if (term.dropout.active())
      terms.push_back(term);
    else
      segments.push_back(term.split);
  }

  Product product(const float* bias, const void* start, void* y, float* norms, int64_t n) const {
    return {segments.data(),
            terms.data(),
            static_cast<int64_t>(segments.size()),
            static_cast<int64_t>(terms.size()),
            bias,
            start,
            y,
            norms,
            n};
  }
};

}  // namespace

struct Linear::Backward {
  std::once_flag once;
  Tensor panels;
};

Linear::Linear(const Tensor& weight, const Tensor& bias, at::ScalarType dtype)
    : in_(weight.size(1)),
      out_(weight.size(0)),
      dtype_(dtype),
      biased_(bias.defined()),
      bias_(bias.defined() ? bias.to(at::kFloat).contiguous()
                           : at::zeros({weight.size(0)}, weight.options().dtype(at::kFloat))) {
  if (packs(dtype) && !device_kernels(weight)) {
    forward_ = pack(weight.to(dtype).t());
    backward_ = std::make_shared<Backward>();
  } else {
    weight_ = weight.to(dtype).contiguous();
    typed_bias_ = bias_.to(dtype);
  }
}

Tensor Linear::weight() const {
  if (!packed()) return weight_;
  Tensor weight = fresh({out_, in_}, dtype_);
  const auto* from = static_cast<const uint16_t*>(forward_.const_data_ptr());
  auto* to = static_cast<uint16_t*>(weight.mutable_data_ptr());
  over_strips(in_, out_, [&](int64_t at, int64_t k, int64_t c) { to[c * in_ + k] = from[at]; });
  return weight;
}

const Tensor& Linear::backward_panels() const {
  std::call_once(backward_->once, [this] { backward_->panels = pack(weight()); });
  return backward_->panels;
}

Tensor linear_forward(const Tensor& x, const Linear& linear, const LowRank* branch, Tensor* ratio) {
  require(x.size(1) == linear.in(), "a linear layer reads as many values as it has inputs");
  if (!linear.packed()) {
    Tensor y = at::addmm(linear.typed_bias(), x, linear.weight().t());
    if (!branch) return y;
    const Tensor found =
        rank_expand(branch->p.p, branch->w->w(), y, branch->scale, branch->dropout, ratio != nullptr);
    if (ratio) *ratio = found;
    return y;
  }
  const int64_t rows = x.size(0), n = linear.out(), panels = (n + kPanel - 1) / kPanel;
  Tensor y = fresh({rows, n}, x.options());
  Sum sum;
  sum.segments.push_back({x.const_data_ptr(), linear.forward_panels().const_data_ptr(), linear.in()});
  if (branch) sum.add(*branch, ratio != nullptr);
  Tensor norms;
  if (ratio) norms = fresh({rows, panels, 2}, at::kFloat);
  multiply(sum.product(linear.bias().const_data_ptr<float>(), nullptr, y.mutable_data_ptr(),
                       ratio ? norms.mutable_data_ptr<float>() : nullptr, n),
           rows);
  if (ratio) {
    const Tensor squares = norms.sum(1);
    *ratio = (squares.select(1, 1) / squares.select(1, 0)).sqrt();
  }
  return y;
}

Tensor linear_backward(at::ArrayRef<LinearGradient> parts, Tensor start) {
  const Linear& first = *parts[0].linear;
  if (!first.packed()) {
    Tensor dx = start;
    for (const auto& part : parts) {
      if (dx.defined())
        dx.addmm_(part.dy, part.linear->weight());
      else
        dx = at::mm(part.dy, part.linear->weight());
      if (part.branch)
        rank_expand(part.branch->p.p, part.branch->w->w(), dx, part.branch->scale, part.branch->dropout,
                    false);
    }
    return dx;
  }
  const int64_t rows = parts[0].dy.size(0);
  Tensor dx = start.defined() ? start : fresh({rows, first.in()}, parts[0].dy.options());
  Sum sum;
  for (const auto& part : parts) {
    sum.segments.push_back(
        {part.dy.const_data_ptr(), part.linear->backward_panels().const_data_ptr(), part.linear->out()});
    if (part.branch) sum.add(*part.branch, false);
  }
  multiply(sum.product(nullptr, start.defined() ? dx.const_data_ptr() : nullptr, dx.mutable_data_ptr(),
                       nullptr, first.in()),
           rows);
  return dx;
}

}  // namespace lp
