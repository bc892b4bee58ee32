// What Python calls: one launch of one kernel, and every fault told as text.
#pragma once

struct shim_geometry {
  unsigned grid[3], block[3];
  unsigned shared, backwards;
};
struct shim_region {
  char* begin;
  char* end;
};

// The letters that stand for `codegen.kernel.ARGUMENTS`, held against the C++ signature.
template <class T> struct shim_letter { static const char value = '?'; };
template <class T> struct shim_letter<T*> { static const char value = 'p'; };
#define SHIM_LETTER(T, letter) \
  template <> struct shim_letter<T> { static const char value = letter; };
SHIM_LETTER(int, 'i')
SHIM_LETTER(unsigned, 'u')
SHIM_LETTER(long, 'l')
SHIM_LETTER(long long, 'l')
SHIM_LETTER(unsigned long, 'L')
SHIM_LETTER(unsigned long long, 'L')
SHIM_LETTER(float, 'f')
SHIM_LETTER(double, 'd')

template <class... P>
constexpr bool shim_matches(void (*)(P...), const char* letters) {
  const char found[] = {shim_letter<P>::value..., 0};
  for (unsigned i = 0; i <= sizeof...(P); ++i)
    if (found[i] != letters[i]) return false;
  return true;
}

// Arguments lie in slots of 8 bytes.
template <class T>
static inline T shim_argument(void* slots, unsigned place) {
  T value;
  memcpy(&value, (char*)slots + 8 * place, sizeof value);
  return value;
}
template <unsigned... I> struct shim_places {};
template <unsigned N, unsigned... I>
struct shim_counted : shim_counted<N - 1, N - 1, I...> {};
template <unsigned... I>
struct shim_counted<0, I...> { typedef shim_places<I...> type; };

template <class... P, unsigned... I>
static inline void shim_spread(void (*kernel)(P...), void* slots, shim_places<I...>) {
  kernel(shim_argument<P>(slots, I)...);
}
template <class... P>
static inline void shim_call(void (*kernel)(P...), void* slots) {
  shim_spread(kernel, slots, typename shim_counted<sizeof...(P)>::type());
}

static const unsigned SHIM_FENCE = 256;  // bytes behind dynamic shared memory

static void shim_poison(shim_region region) {
  if (region.begin) memset(region.begin, 0xff, region.end - region.begin);
}

static void shim_faulted(int signal, siginfo_t*, void*) {
  shim_here.wrong = signal == SIGILL
      ? "a misaligned access, or an index outside of an array"
      : signal == SIGFPE ? "an integer division by zero"
      : "an access outside of the memory that is allocated";
  siglongjmp(shim_escape, 1);
}

static void shim_run_grid(const shim_geometry& with, const shim_region* regions) {
  shim_block& here = shim_here;
  here.backwards = with.backwards;
  unsigned long long blocks =
      (unsigned long long)with.grid[0] * with.grid[1] * with.grid[2];
  for (unsigned long long k = 0; k < blocks; ++k) {
    unsigned long long i = with.backwards ? blocks - 1 - k : k;
    here.at = dim3(i % with.grid[0], i / with.grid[0] % with.grid[1],
                   i / ((unsigned long long)with.grid[0] * with.grid[1]));
    shim_poison(regions[0]);
    shim_poison(regions[1]);
    memset(here.dynamic, 0xff, with.shared);
    shim_run_block();
    for (unsigned fence = 0; fence < SHIM_FENCE; ++fence)
      if (here.dynamic[with.shared + fence] != 0x5a)
        shim_fail("a write behind the dynamic shared memory");
  }
}

static const char* shim_launch(void (*kernel)(void*), const shim_geometry& with,
                             const shim_region* regions, void* slots) {
  static const int faults[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE};
  static char* aside = (char*)malloc(64 << 10);
  shim_block& here = shim_here;
  here.grid = dim3(with.grid[0], with.grid[1], with.grid[2]);
  here.block = dim3(with.block[0], with.block[1], with.block[2]);
  here.threads = with.block[0] * with.block[1] * with.block[2];
  here.kernel = kernel;
  here.arguments = slots;
  here.wrong = 0;
  here.dynamic = (char*)aligned_alloc(128, (with.shared + SHIM_FENCE + 127) / 128 * 128);
  memset(here.dynamic + with.shared, 0x5a, SHIM_FENCE);
  stack_t stack = {}, stack_before;
  stack.ss_sp = aside;
  stack.ss_size = 64 << 10;
  struct sigaction ours = {}, before[4];
  ours.sa_sigaction = shim_faulted;
  ours.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigaltstack(&stack, &stack_before);
  for (int i = 0; i < 4; ++i) sigaction(faults[i], &ours, before + i);
  if (!sigsetjmp(shim_escape, 1)) shim_run_grid(with, regions);
  for (int i = 0; i < 4; ++i) sigaction(faults[i], before + i, 0);
  sigaltstack(&stack_before, 0);
  free(here.dynamic);
  return here.wrong;
}

// The bounds of a section, which the linker knows where there is such a section.
#define SHIM_BOUNDS(section)                                                          \
  extern char __start_##section[] __attribute__((weak, visibility("hidden")));      \
  extern char __stop_##section[] __attribute__((weak, visibility("hidden")));
// One kernel's entry, which C finds by its name.
#define SHIM_ENTRY(space, name, letters, section)                                     \
  SHIM_BOUNDS(section)                                                                \
  static_assert(shim_matches(space::name, letters), #name ": other parameters");      \
  extern "C" __attribute__((visibility("default"))) const char* shim_launch_##name(   \
      const shim_geometry* with, void* slots) {                                       \
    const shim_region regions[] = {{__start_##section, __stop_##section},             \
                                 {__start_shim_helpers, __stop_shim_helpers}};          \
    return shim_launch([](void* s) { shim_call(space::name, s); }, *with, regions, slots); \
  }
SHIM_BOUNDS(shim_helpers)
