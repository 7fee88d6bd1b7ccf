#include "cpu/isa.h"

#include "status.h"

#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#elif defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace fw::cpu {
namespace {

constexpr const char* kNames[] = {"portable", "avx2", "avx512", "avx512_vnni", "avx512_bf16", "amx", "neon_dotprod"};
constexpr int32_t kIsas = sizeof kNames / sizeof kNames[0];

#define FW_BIT(rung, RUNG, unused) | 1 << FW_ISA_##RUNG
constexpr int32_t kCompiled = 0 FW_FOR_EACH_ISA(FW_BIT, );
#undef FW_BIT

#if defined(__x86_64__)
struct Registers {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Registers cpuid(uint32_t leaf, uint32_t subleaf) {
  Registers r;
  __get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx);
  return r;
}

// Which registers the operating system saves. macOS shows the AVX-512 ones only after first use; there we stay on AVX2.
uint64_t saved_registers() {
  uint32_t low = 0, high = 0;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return uint64_t{high} << 32 | low;
}

// Linux lets a process use the matrix unit's tiles once it has asked; threads started before may use them too.
bool may_use_tiles() {
#if defined(__linux__)
  constexpr long kRequest = 0x1023, kTileData = 18;
  static const bool granted = syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
  return granted;
#else
  return false;
#endif
}

void detect(fw_features_t& f) {
  const auto bit = [](uint32_t word, int position) { return static_cast<int32_t>(word >> position & 1); };
  const Registers basic = cpuid(1, 0), extended = cpuid(7, 0), more = cpuid(7, 1);
  const uint64_t saved = bit(basic.ecx, 27) ? saved_registers() : 0;
  if ((saved & 0x6) == 0x6) {  // xmm, ymm
    f.fma = bit(basic.ecx, 12);
    f.f16c = bit(basic.ecx, 29);
    f.avx2 = bit(extended.ebx, 5);
    f.avx_vnni = bit(more.eax, 4);
  }
  if ((saved & 0xe6) == 0xe6) {  // also masks and zmm
    f.avx512f = bit(extended.ebx, 16);
    f.avx512dq = bit(extended.ebx, 17);
    f.avx512bw = bit(extended.ebx, 30);
    f.avx512vl = bit(extended.ebx, 31);
    f.avx512_vnni = bit(extended.ecx, 11);
    f.avx512_bf16 = bit(more.eax, 5);
  }
  if ((saved & 0x60000) == 0x60000 && may_use_tiles()) {  // tile configuration and data
    f.amx_bf16 = bit(extended.edx, 22);
    f.amx_tile = bit(extended.edx, 24);
    f.amx_int8 = bit(extended.edx, 25);
  }
}
#elif defined(__aarch64__)
void detect(fw_features_t& f) {
  f.neon = 1;
#if defined(__APPLE__)
  f.neon_dotprod = 1;  // every Apple silicon Mac has them
#elif defined(HWCAP_ASIMDDP)
  f.neon_dotprod = (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
#endif
}
#else
void detect(fw_features_t&) {}
#endif

fw_features_t features() {
  fw_features_t f{};
  detect(f);
  const bool avx2 = f.avx2 && f.fma && f.f16c;
  const bool avx512 = avx2 && f.avx512f && f.avx512bw && f.avx512dq && f.avx512vl;
  const bool vnni = avx512 && f.avx512_vnni;
  const bool bf16 = vnni && f.avx512_bf16;
  const bool runs[kIsas] = {true, avx2, avx512, vnni, bf16, bf16 && f.amx_tile && f.amx_bf16, f.neon_dotprod != 0};
  for (int32_t isa = 0; isa < kIsas; ++isa) {
    if (!runs[isa] || !(kCompiled >> isa & 1)) continue;
    f.usable_isas |= 1 << isa;
    f.best_isa = isa;
  }
  return f;
}

}  // namespace

const char* isa_name(int32_t isa) {
  return kNames[isa];
}

int32_t check_isa(const char* operation, int32_t isa) {
  if (isa < 0 || isa >= kIsas) {
    return fail(FW_INVALID_ARGUMENT, "%s: instruction set %d is not one of 0 to %d", operation, isa, kIsas - 1);
  }
  if (!(kCompiled >> isa & 1)) {
    return fail(FW_UNSUPPORTED, "%s: %s was not compiled in; build with a newer compiler", operation, kNames[isa]);
  }
  const fw_features_t here = features();
  if (!(here.usable_isas >> isa & 1)) {
    return fail(FW_UNSUPPORTED, "%s: this processor does not run %s; its best is %s", operation, kNames[isa],
                kNames[here.best_isa]);
  }
  return FW_OK;
}

}  // namespace fw::cpu

FW_API int32_t fw_features_cpu(fw_features_t* features) {
  if (features == nullptr) return fw::fail(FW_INVALID_ARGUMENT, "processor features: features is null");
  *features = fw::cpu::features();
  return FW_OK;
}
