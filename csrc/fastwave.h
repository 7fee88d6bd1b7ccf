/* All C functions of fastwave's two native libraries.
 *
 * libfastwave_cpu  has every function without suffix and every ..._cpu.
 * libfastwave_cuda has every function without suffix and every ..._cuda.
 *
 * Rules. Functions return a status. Results are written through pointers, which must not be null unless a comment says
 * so; a failed call does not write them. Sizes are int64_t. Memory that outlives a call belongs to the caller. Every
 * function may be called from any thread. Nothing here prints, aborts or throws.
 */
#ifndef FASTWAVE_H
#define FASTWAVE_H

#include <stdint.h>

#define FW_ABI_VERSION 12 /* raise it with every change below; fastwave/runtime/library.py refuses another number */

#if defined(__cplusplus)
#define FW_API extern "C" __attribute__((visibility("default")))
#else
#define FW_API __attribute__((visibility("default")))
#endif

enum { /* status */
       FW_OK = 0,
       FW_INVALID_ARGUMENT = 1,
       FW_BUFFER_TOO_SMALL = 2,
       FW_OUT_OF_MEMORY = 3,
       FW_UNSUPPORTED = 4,    /* not on this processor or device, or not compiled in */
       FW_INTERNAL = 5,       /* a fault of this library */
       FW_NO_DRIVER = 6,      /* CUDA: no NVIDIA driver on this machine */
       FW_DRIVER_TOO_OLD = 7, /* CUDA: older than the CUDA runtime that was built in */
       FW_NO_DEVICE = 8,      /* CUDA: a driver, but it shows no device to this process */
       FW_DEVICE_FAILED = 9,  /* CUDA: any other error of the CUDA runtime */
       FW_NOT_FINITE = 10     /* an output in generation is NaN or infinite; fw_run_t says where */
};

enum {                      /* instruction sets: a ladder for each architecture, each includes all before it */
       FW_ISA_PORTABLE = 0, /* what the compiler emits by default: SSE2 on x86-64, NEON on 64-bit ARM */
       FW_ISA_AVX2 = 1,     /* AVX2, FMA, F16C */
       FW_ISA_AVX512 = 2,   /* F, BW, DQ, VL */
       FW_ISA_AVX512_VNNI = 3,
       FW_ISA_AVX512_BF16 = 4,
       FW_ISA_AMX = 5,         /* the matrix unit, with bfloat16; the last of x86-64 */
       FW_ISA_NEON_DOTPROD = 6 /* 64-bit ARM with dot products of bytes, above FW_ISA_PORTABLE */
};

enum { /* types of the operands of a product; sums are float32, and int32 for int8 */
       FW_FLOAT32 = 0,
       FW_BFLOAT16 = 1,
       FW_INT8 = 2
};

typedef struct { /* 1 where the processor has it and the operating system saves its registers, else 0 */
  int32_t avx2;
  int32_t fma;
  int32_t f16c;
  int32_t avx_vnni;
  int32_t avx512f;
  int32_t avx512bw;
  int32_t avx512dq;
  int32_t avx512vl;
  int32_t avx512_vnni;
  int32_t avx512_bf16;
  int32_t amx_tile; /* 1 where Linux lets this process use it; the first call asks Linux for that */
  int32_t amx_bf16;
  int32_t amx_int8;
  int32_t neon;
  int32_t neon_dotprod;
  int32_t usable_isas; /* bit FW_ISA_x is set where x is compiled in and runs here */
  int32_t best_isa;    /* FW_ISA_x: the highest of them, the default */
} fw_features_t;

typedef struct {
  char name[256];
  int32_t compute_major;
  int32_t compute_minor;
  int32_t multiprocessors;
  int32_t shared_bytes_per_block; /* the most that a block may ask for (opt in) */
  int64_t l2_bytes;
  int64_t memory_bytes;
} fw_device_t;

/* FW_ABI_VERSION of the library: the one function that returns no status. */
FW_API int32_t fw_abi_version(void);

/* Texts: at most `capacity` bytes go to `buffer`, the closing NUL included; `length`, where not null, gets the whole
 * text's length without it. FW_BUFFER_TOO_SMALL leaves the beginning of the text in `buffer`. A null buffer of
 * capacity 0 asks for the length alone and is FW_OK. */

/* Why the last call of this thread that failed did so, as a sentence for users: it names the operation in words. Calls
 * that succeed do not change it, and neither does this one. */
FW_API int32_t fw_last_error(char* buffer, int64_t capacity, int64_t* length);
/* How the library was built, as JSON. */
FW_API int32_t fw_build_info_cpu(char* buffer, int64_t capacity, int64_t* length);
FW_API int32_t fw_build_info_cuda(char* buffer, int64_t capacity, int64_t* length);

FW_API int32_t fw_features_cpu(fw_features_t* features);

/* Ceilings of one core. The calling thread works for about `seconds`, above 0 and at most 60; the result is that of the
 * fastest pass. */

/* Reads the same `bytes` bytes, 4096 to 2^32, again and again. */
FW_API int32_t fw_read_bandwidth_cpu(int32_t isa, int64_t bytes, double seconds, double* bytes_per_second);
/* Multiplies and adds in registers; a multiply-add is two operations. */
FW_API int32_t fw_multiply_add_peak_cpu(int32_t isa, int32_t type, double seconds, double* operations_per_second);

/* Generation. Weights are float32 in the layouts of fastwave/reference.py, and read only while an engine is made. */

enum { FW_CATEGORICAL = 0, FW_MIXTURE = 1, FW_GAUSSIAN = 2 }; /* outputs */
/* What the first layer's sum of bias and embeddings goes through, before the excitation is added. */
enum { FW_NONE = 0, FW_RELU = 1, FW_TANH = 2 };

typedef struct {
  int64_t residual, gate, skip, head, outputs; /* R, G, S, H, O */
  int64_t taps, front_taps, layers;            /* K, K0, L */
  int64_t classes;                             /* A; 0 where the input is the waveform itself */
  int32_t output;                              /* FW_CATEGORICAL, ... */
  int32_t front_activation;                    /* FW_NONE, ... */
  const int64_t* dilations;                    /* [L] */
  const float* front;                          /* [K0, A or 1, R] */
  const float* front_bias;                     /* [R], or null: zeros */
  const float* dilated;                        /* [L, K, R, 2G] */
  const float* dilated_bias;                   /* [L, 2G] */
  const float* residual_weight;                /* [L-1, G, R] */
  const float* residual_bias;                  /* [L-1, R] */
  const float* skip_weight;                    /* [L, G, S] */
  const float* skip_bias;                      /* [S] */
  const float* head0;                          /* [S, H] */
  const float* head0_bias;                     /* [H] */
  const float* head1;                          /* [H, O] */
  const float* head1_bias;                     /* [O] */
} fw_model_t;

/* A stream is one generated sequence. Rows, one for each stream, are contiguous. The memory of a stream holds a ring
 * for each layer, one after the other: (K-1)*d rows of R floats, each row filled up with zeros to a multiple of 16. The
 * layer's input of sample p is in row p mod (K-1)*d.
 *
 * A sample at time t is drawn from the output at sample t-1, so a run from time t evaluates samples t-1 .. t+n-2.
 * Conditioning is already projected, bias included: for each frame, L rows of [filter | gate], each half filled up with
 * zeros to a multiple of 16. Sample p reads frame floor(p / hop) - first_frame, or with `linear` an interpolation
 * between that frame and the next one. Without conditioning `projected` is null.
 *
 * An excitation is multiplied by its weight already: a row of R floats, filled up with zeros to a multiple of 16, is
 * added to the embedding of each evaluated sample, the first of them at time t-1. */
typedef struct {
  int64_t streams, samples;
  int64_t* times;             /* [streams], advanced in place */
  const int64_t* ids;         /* [streams]: which random numbers a stream draws */
  float* memory;              /* [streams, memory_floats], advanced in place */
  int64_t* last_classes;      /* [streams, K0], oldest first, advanced in place; null for scalar input */
  float* last_values;         /* [streams, K0], the same for scalar input, else null */
  const float* projected;     /* [streams, frames, L, 2 * padded G] or null */
  const int64_t* first_frame; /* [streams] */
  int64_t frames, hop;
  const float* excitation; /* [streams, samples, padded R] or null */
  int32_t linear;          /* 1: interpolate between frames; 0: repeat each frame */
  int32_t top_k;           /* 0: all classes */
  uint64_t seed;
  const float* noise; /* [streams, samples, draws]: uniforms to use in place of the seed's, or null */
  float temperature;
  float top_p;                  /* 1: all */
  const int64_t* given_classes; /* [streams, samples]: tokens to take instead of drawing, or null */
  const float* given_values;
  int64_t* drawn_classes; /* [streams, samples], or null */
  float* drawn_values;
  float* outputs;                     /* [streams, samples, O], or null */
  int64_t failed_stream, failed_time; /* written with FW_NOT_FINITE */
} fw_run_t;

typedef struct fw_engine fw_engine_t;

/* Packs the weights as `type` for instruction set `isa` and starts threads-1 threads, which sleep between runs. */
FW_API int32_t fw_engine_create_cpu(const fw_model_t* model, int32_t isa, int32_t type, int32_t threads,
                                    fw_engine_t** engine);
FW_API int32_t fw_engine_destroy_cpu(fw_engine_t* engine);
/* The length of a stream's `memory` in floats. */
FW_API int32_t fw_engine_memory_cpu(const fw_engine_t* engine, int64_t* floats);
/* Computes the state of streams from their past: `samples` tokens, at least 1, in given_classes or given_values, of
 * which the newest stands at time times[s] - 1. Writes `memory` and the last tokens; reads `times`, the conditioning
 * and the excitation of all samples of the past but the newest, and nothing else of `run`. The result is, bit for bit,
 * that of runs which take the tokens one by one, beginning with a memory of zeros; here each weight is read once for
 * many of them. A sound is preceded by silence: put one receptive field of it, 1 + (K0-1) + (K-1) * (sum of dilations)
 * tokens, before the first sample. */
FW_API int32_t fw_engine_prime_cpu(fw_engine_t* engine, fw_run_t* run);
/* An engine with several threads has several schedules, ways to divide the work. It tries them as it runs, and keeps to
 * the fastest; samples do not depend on the choice. settled = 1 ends the trials: in live playback a slow one would be
 * heard. 0 allows them again. */
FW_API int32_t fw_engine_settle_cpu(fw_engine_t* engine, int32_t settled);
/* One run at a time on an engine. A failed run leaves `memory` and the rest partially updated; run on a copy. */
FW_API int32_t fw_engine_run_cpu(fw_engine_t* engine, fw_run_t* run);
/* The uniforms of fastwave/philox.py: [count, draws]. */
FW_API int32_t fw_noise_cpu(uint64_t seed, int64_t stream, int64_t first, int64_t count, int64_t draws,
                            float* destination);

/* All residual layers of fastwave/reference.py, forward and backward, over whole sequences that begin with zero
 * padding; or forward over a part of a sequence that goes on from `history`. Tensors are contiguous. `type` is that of
 * the products: FW_FLOAT32, or FW_BFLOAT16, whose operands are rounded to bfloat16; sums are float32 in both.
 *
 * Results do not depend on `threads`. */

typedef struct {
  int64_t batch, time, residual, gate, skip, condition, taps, layers; /* B, T, R, G, S, C or 0, K, L */
  int64_t first; /* the first step whose skip sum is wanted: what no such sum depends on may be left out, and is zero
                  * in layer_inputs and tanh_sigmoid. 0 with a history */
  const int64_t* dilations;      /* [L] */
  const float* dilated;          /* [L, K, R, 2G] */
  const float* dilated_bias;     /* [L, 2G] */
  const float* residual_weight;  /* [L-1, G, R], may be null where L is 1 */
  const float* residual_bias;    /* [L-1, R], may be null where L is 1 */
  const float* skip_weight;      /* [L, G, S] */
  const float* skip_bias;        /* [S] */
  const float* condition_weight; /* [L, C, 2G], null where C is 0 */
  const float* input;            /* [B, T, R]; null in the backward pass */
  const float* conditioning;     /* [B, T, C], null where C is 0 */
  void* layer_inputs;  /* [L, B, T, R] in the type of the products: x[l] of every layer, written by the forward pass and
                        * read by the backward pass */
  void* tanh_sigmoid;  /* [L, B, T, tanh | sigmoid, G], the same; null: the backward pass computes it again. float32, or
                        * int16_t with 32767 for 1 where products are of bfloat16 */
  const void* history; /* for each layer [B, (K-1)*d, R], one after the other: its inputs before the first, oldest
                        * first, in the type of layer_inputs; null: zeros. Null in the backward pass */
} fw_stack_t;

typedef struct { /* each has its tensor's shape and is overwritten; null where it is not wanted */
  float* input;  /* never null: the backward pass also uses it as scratch */
  float* dilated;
  float* dilated_bias;
  float* residual_weight;
  float* residual_bias;
  float* skip_weight;
  float* skip_bias;
  float* condition_weight;
  float* conditioning;
} fw_stack_gradients_t;

/* skip_sum and its gradient: [B, T - first, S] */
FW_API int32_t fw_residual_stack_forward_cpu(const fw_stack_t* stack, int32_t isa, int32_t type, int32_t threads,
                                             float* skip_sum);
FW_API int32_t fw_residual_stack_backward_cpu(const fw_stack_t* stack, int32_t isa, int32_t type, int32_t threads,
                                              const float* skip_sum_gradient, const fw_stack_gradients_t* gradients);

/* The head and its loss: relu, product, relu, product, and the sum over rows of weight times nats, which are those of
 * fastwave/distributions.py. A mixture has O = 3 * mixtures outputs [logits | means | log scales], a Gaussian the two
 * [mean, log scale]. `type` and `threads` as above. */

typedef struct {
  int64_t rows, skip, head, outputs; /* N, S, H, O */
  int32_t output;                    /* FW_CATEGORICAL, ... */
  const float* weight0;              /* [S, H] */
  const float* bias0;                /* [H] */
  const float* weight1;              /* [H, O] */
  const float* bias1;                /* [O] */
  const float* skip_sum;             /* [N, S] */
  const int64_t* target_classes;     /* [N]; null where the output is continuous */
  const float* target_values;        /* [N], the waveform, for a mixture or a Gaussian; else null */
  const float* weights;              /* [N] */
} fw_head_t;

typedef struct { /* each has its tensor's shape and is overwritten; null where it is not wanted */
  float* skip_sum;
  float* weight0;
  float* bias0;
  float* weight1;
  float* bias1;
} fw_head_gradients_t;

/* `gradients` may be null: none is wanted. */
FW_API int32_t fw_head_loss_cpu(const fw_head_t* head, int32_t isa, int32_t type, int32_t threads, double* loss,
                                const fw_head_gradients_t* gradients);

FW_API int32_t fw_device_count_cuda(int32_t* count);
FW_API int32_t fw_device_cuda(int32_t index, fw_device_t* device);

/* Generation on a device. All pointers of a fw_run_t lead to memory of the engine's device; `memory` and the workspace
 * are aligned to 16 bytes. Values in device memory are checked on the device. A run that is refused there, or that
 * fails, leaves the state partially updated; run on a copy. At most 2^31-1 streams and samples a run. A run is queued
 * on `cuda_stream` (a cudaStream_t, null for the default one) and waited for, so a CUDA stream that is being captured
 * into a graph is refused. An engine is never changed: runs may overlap if each has its own workspace and state. */

typedef struct fw_cuda_engine fw_cuda_engine_t;

enum { /* kernels; where the one that is asked for cannot run the model, FW_UNSUPPORTED says why */
       FW_KERNEL_AUTO = 0,
       FW_KERNEL_GENERAL = 1,         /* any model, a block of threads for up to 8 streams */
       FW_KERNEL_CLUSTER = 2,         /* a cluster of blocks holds the weights for 8 streams: bfloat16, from 9.0 on */
       FW_KERNEL_CLUSTER_UNFOLDED = 3 /* the same, with no weight matrices multiplied in advance: to compare */
};

typedef struct { /* how an engine runs a number of streams */
  int32_t kernel;
  int32_t blocks_per_cluster; /* 0: no cluster */
  int32_t layer_blocks;       /* how many of them hold layers, one after the other */
  int32_t reserved;
  int64_t streams_per_block; /* or per cluster: they share each weight that is read */
  int64_t blocks;
  int64_t shared_bytes;    /* of a block; 0: the model is too wide for it, and the scratch is in the workspace */
  int64_t workspace_bytes; /* of device memory that a run needs besides the state */
  char reason[256];        /* why this kernel was chosen */
} fw_plan_t;

FW_API int32_t fw_engine_create_cuda(const fw_model_t* model, int32_t device, int32_t type, int32_t kernel,
                                     fw_cuda_engine_t** engine);
FW_API int32_t fw_engine_destroy_cuda(fw_cuda_engine_t* engine);
FW_API int32_t fw_engine_plan_cuda(const fw_cuda_engine_t* engine, int64_t streams, fw_plan_t* plan);
FW_API int32_t fw_engine_run_cuda(const fw_cuda_engine_t* engine, fw_run_t* run, void* workspace, void* cuda_stream);

#endif /* FASTWAVE_H */
