// The threads of one block: fibers on stacks of their own, resumed until all have ended.
//
// A worker runs one thread after the other; only where a thread waits does the next worker
// begin. So blocks without a barrier are a plain loop.
#pragma once
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>

enum shim_state { SHIM_IDLE, SHIM_RUNNING, SHIM_AT_BLOCK, SHIM_AT_WARP, SHIM_ENDED };

struct shim_thread {
  dim3 at;
  unsigned number;
  shim_state state;
  unsigned mask;             // the lanes a warp's exchange is among
  unsigned long long sent, seen;  // what the lane gave, and what the others read of it
  void* worker;
};
struct shim_worker {
  void* base;
};
struct shim_block {
  dim3 grid, block, at;
  void (*kernel)(void*);
  void* arguments;
  unsigned threads, next, ended, backwards;
  shim_thread thread[1024];
  shim_worker worker[1024];
  unsigned workers;
  void* scheduler;
  char* dynamic;
  unsigned votes, counted;   // what __syncthreads_or and its like gather
  const char* wrong;
};

// Named for the linker, so that the compiler expects the switch to change them.
extern "C" {
__attribute__((visibility("hidden"))) shim_block shim_here;
__attribute__((visibility("hidden"))) shim_thread* shim_self;
__attribute__((visibility("hidden"))) void shim_switch(void** from, void* to);
__attribute__((visibility("hidden"))) void shim_work();
}
__attribute__((visibility("hidden"))) sigjmp_buf shim_escape;

#define threadIdx (shim_self->at)
#define blockIdx (shim_here.at)
#define blockDim (shim_here.block)
#define gridDim (shim_here.grid)
static const int warpSize = 32;

#if defined(__x86_64__)
asm(R"(
.text
.hidden shim_switch
.globl shim_switch
.type shim_switch, @function
shim_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size shim_switch, .-shim_switch
)");
static void* shim_fresh_stack(char* top) {
  void** stack = (void**)top - 2;  // the stack is at 8 modulo 16 where a function begins
  *stack = (void*)shim_work;
  return stack - 6;
}
#elif defined(__aarch64__)
asm(R"(
.text
.hidden shim_switch
.globl shim_switch
.type shim_switch, %function
shim_switch:
  sub sp, sp, #160
  stp x19, x20, [sp]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
.size shim_switch, .-shim_switch
)");
static void* shim_fresh_stack(char* top) {
  void** stack = (void**)(top - 160);
  stack[11] = (void*)shim_work;
  return stack;
}
#else
#error "the host double knows x86-64 and aarch64"
#endif

static const size_t SHIM_STACK = 256 << 10;

[[noreturn]] static inline void shim_fail(const char* what) {
  shim_here.wrong = what;
  siglongjmp(shim_escape, 1);
}

// A worker: take the next thread of the block that has not begun, and run it.
extern "C" void shim_work() {
  for (;;) {
    shim_block& here = shim_here;
    while (here.next < here.threads) {
      unsigned number = here.next++;
      if (here.backwards) number = here.threads - 1 - number;
      shim_thread* self = shim_self = here.thread + number;
      self->state = SHIM_RUNNING;
      here.kernel(here.arguments);
      self->state = SHIM_ENDED;
      ++here.ended;
    }
    void* ignored;
    shim_switch(&ignored, here.scheduler);
    // Only the stack's first entry is used again, so nothing comes back here.
  }
}

// Let the other threads go on until this one's state is changed back.
static inline void shim_wait(shim_state state) {
  shim_thread* self = shim_self;
  self->state = state;
  shim_switch(&self->worker, shim_here.scheduler);
  asm volatile("" ::: "memory");
}

static void shim_begin_worker() {
  shim_block& here = shim_here;
  if (here.workers == 1024) shim_fail("more threads wait than a block has");
  shim_worker& worker = here.worker[here.workers++];
  if (!worker.base) {
    worker.base = mmap(0, SHIM_STACK, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (worker.base == MAP_FAILED) shim_fail("no memory for a thread's stack");
    mprotect(worker.base, 4096, PROT_NONE);
  }
  shim_switch(&here.scheduler, shim_fresh_stack((char*)worker.base + SHIM_STACK));
}

static bool shim_warp_is_ready(const shim_thread* lane, unsigned threads) {
  const shim_thread* warp = shim_here.thread + (lane->number & ~31u);
  for (unsigned i = 0; i < 32 && warp + i < shim_here.thread + threads; ++i) {
    if (!(lane->mask >> i & 1) || warp[i].state == SHIM_ENDED) continue;
    if (warp[i].state != SHIM_AT_WARP || warp[i].mask != lane->mask) return false;
  }
  return true;
}

static void shim_release_warp(shim_thread* lane, unsigned threads) {
  shim_thread* warp = shim_here.thread + (lane->number & ~31u);
  unsigned mask = lane->mask;
  for (unsigned i = 0; i < 32; ++i) {
    if (!(mask >> i & 1) || warp + i >= shim_here.thread + threads) continue;
    bool ended = warp[i].state == SHIM_ENDED;
    warp[i].seen = ended ? ~0ull : warp[i].sent;  // whoever reads an ended lane reads NaN
    if (!ended) warp[i].state = SHIM_RUNNING;
  }
}

static bool shim_release(unsigned threads) {
  bool any = false;
  unsigned waiting = 0, asked = 0;
  for (unsigned i = 0; i < threads; ++i) {
    shim_thread* thread = shim_here.thread + i;
    waiting += thread->state == SHIM_AT_BLOCK;
    if (!(i & 31)) asked = 0;
    if (thread->state != SHIM_AT_WARP || thread->mask == asked) continue;
    asked = thread->mask;  // lanes of one mask are ready together
    if (shim_warp_is_ready(thread, threads)) {
      shim_release_warp(thread, threads);
      any = true;
    }
  }
  if (!any && waiting && waiting + shim_here.ended == threads) {
    for (unsigned i = 0; i < threads; ++i)
      if (shim_here.thread[i].state == SHIM_AT_BLOCK) shim_here.thread[i].state = SHIM_RUNNING;
    shim_here.counted = shim_here.votes;
    shim_here.votes = 0;
    any = true;
  }
  return any;
}

static void shim_resume_all(unsigned threads) {
  for (unsigned k = 0; k < threads; ++k) {
    unsigned i = shim_here.backwards ? threads - 1 - k : k;
    shim_thread* thread = shim_here.thread + i;
    if (thread->state != SHIM_RUNNING) continue;
    shim_self = thread;
    shim_switch(&shim_here.scheduler, thread->worker);
  }
}

static void shim_run_block() {
  shim_block& here = shim_here;
  unsigned threads = here.threads;
  here.next = here.ended = here.workers = here.votes = 0;
  for (unsigned i = 0; i < threads; ++i) {
    shim_thread& thread = here.thread[i];
    thread.at = dim3(i % here.block.x, i / here.block.x % here.block.y,
                     i / (here.block.x * here.block.y));
    thread.number = i;
    thread.state = SHIM_IDLE;
    thread.worker = 0;
    thread.sent = thread.seen = ~0ull;
  }
  while (here.next < threads) shim_begin_worker();
  while (here.ended < threads) {
    if (!shim_release(threads)) shim_fail("threads wait for others that never come");
    shim_resume_all(threads);
  }
}
