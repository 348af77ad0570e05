#include <cstdio>
#include <cstdlib>
#include <vector>

#include "base/arena.h"
#include "check.h"
#include "ops/cuda/launches.h"
#include "ops/device.h"

namespace lp::check {

at::Device device = at::kCPU;

Tensor here(const Tensor& t) { return t.to(device); }
Tensor zeros(at::IntArrayRef shape) { return here(at::zeros(shape)); }
Tensor ones(at::IntArrayRef shape) { return here(at::ones(shape)); }

Tensor random(at::IntArrayRef shape, at::ScalarType dtype, uint64_t seed, double scale) {
  const auto generator = at::make_generator<at::CPUGeneratorImpl>(seed);
  return here((at::randn(shape, generator, at::kFloat) * scale).to(dtype));
}

Tensor leaf(const Tensor& t) { return t.to(at::kDouble).detach().clone().requires_grad_(); }

Tensor factors(const Dropout& dropout, int64_t rows, int64_t width) {
  Tensor f = at::empty({rows, width}, at::kDouble);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < width; ++c)
      f.mutable_data_ptr<double>()[r * width + c] = dropout_factor(dropout, r, c, width);
  return here(f);
}

void compare(const std::string& op, const std::string& what, at::ScalarType dtype, const Tensor& found,
             const Tensor& truth, double bound, const Tensor& part) {
  const Tensor f = found.to(at::kCPU, at::kDouble), t = truth.detach().to(at::kCPU, at::kDouble);
  double scale = t.abs().max().item<double>();
  if (part.defined()) scale = std::max(scale, part.detach().abs().max().item<double>());
  const double error = (f - t).abs().max().item<double>() / (scale > 0 ? scale : 1);
  const bool rounded = dtype == at::kBFloat16 && found.scalar_type() == at::kBFloat16;
  std::printf("{\"op\":\"%s\",\"what\":\"%s\",\"dtype\":\"%s\",\"error\":%g,\"bound\":%g}\n", op.c_str(),
              what.c_str(), dtype == at::kFloat ? "float32" : "bfloat16", std::isfinite(error) ? error : 1e300,
              bound + (rounded ? 0x1p-8 : 0));
}

}  // namespace lp::check

// Without arguments: every op against float64; with --emulated the CUDA kernels', run by the host. With sequences,
// length, hidden size, FFN width and heads: their times. With tokens, hidden size and FFN width: the peak of the
// products; with --peaks those of products and copies. --device cuda:N before all that: on a GPU.
int main(int count, char** given) {
  using namespace lp::check;
  lp::install_arena();
  std::vector<std::string> words(given + 1, given + count);
  const auto number = [&](size_t i) { return std::atoll(words[i].c_str()); };
  try {
    if (words.size() > 1 && words[0] == "--device") {
      device = at::Device(words[1]);
      words.erase(words.begin(), words.begin() + 2);
    }
    if (words.size() == 1 && words[0] == "--peaks") {
      peaks();
      return 0;
    }
    if (words.size() == 3) {
      peak(number(0), number(1), number(2));
      return 0;
    }
    if (words.size() == 5) {
      times(number(0), number(1), number(2), number(3), number(4));
      return 0;
    }
    if (words.size() == 1 && words[0] == "--emulated") lp::emulate_device(&lp::cuda::table, /*library=*/true);
    activations();
    moments();
    norms();
    dropouts();
    lookups();
    gathers();
    linears();
    attention();
    library_attention();
    head_parts();
    rotations();
    gates();
    losses();
    spans();
    teacher();
    threads();
    optimizer();
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}
