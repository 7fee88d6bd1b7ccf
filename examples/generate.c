/* Generates sound from a fastwave checkpoint without Python: a small loader, the engine, a WAV file.
 *
 *   cc generate.c -o generate -I csrc -L fastwave -lfastwave_cpu -Wl,-rpath,fastwave -lm
 *   ./generate fastwave/bundled/pluck out.wav 3 0      (checkpoint, output, seconds, seed)
 *
 * It computes in float32: the file equals that of `fastwave generate pluck -o out.wav --seconds 3 --seed 0 --dtype
 * float32`. For models of mu-law classes without conditioning; csrc/fastwave.h says what other models need.
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fastwave.h"

static void quit(const char* text, const char* detail) {
  fprintf(stderr, "generate: %s%s\n", text, detail);
  exit(1);
}

/* The whole file at folder/name, with a NUL behind it. */
static char* read_file(const char* folder, const char* name, uint64_t* size) {
  char path[4096];
  if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path) quit("the path is too long: ", folder);
  FILE* file = fopen(path, "rb");
  if (file == NULL || fseek(file, 0, SEEK_END) != 0) quit("cannot read ", path);
  const long length = ftell(file);
  char* content = length < 0 ? NULL : malloc((size_t)length + 1);
  rewind(file);
  if (content == NULL || fread(content, 1, (size_t)length, file) != (size_t)length) quit("cannot read ", path);
  fclose(file);
  content[length] = 0;
  *size = (uint64_t)length;
  return content;
}

/* Where the value of "key" begins. Enough for files that fastwave wrote; not a JSON parser. */
static const char* find_value(const char* json, const char* key) {
  char quoted[64];
  snprintf(quoted, sizeof quoted, "\"%s\"", key);
  const char* at = strstr(json, quoted);
  at = at == NULL ? NULL : strchr(at + strlen(quoted), ':');
  if (at == NULL) quit("the file does not name ", key);
  return at + 1;
}

static int64_t find_integer(const char* json, const char* key) {
  return strtoll(find_value(json, key), NULL, 10);
}

/* The integers of a list such as [1, 2, 4] -> how many there are. */
static int64_t find_list(const char* json, const char* key, int64_t* values, int64_t most) {
  const char* at = strchr(find_value(json, key), '[');
  int64_t count = 0;
  for (char* end; at != NULL && *at != ']' && count < most; at = end + strspn(end, ", \n")) {
    at += *at == '[';
    values[count++] = strtoll(at, &end, 10);
    if (end == at) quit("this is not a list of integers: ", key);
  }
  return count;
}

typedef struct {
  char* file; /* eight bytes with the length of the header, the header as JSON, the tensors */
  uint64_t size, data;
  char* header;
} weights_t;

static weights_t load_weights(const char* folder) {
  weights_t weights;
  weights.file = read_file(folder, "model.safetensors", &weights.size);
  uint64_t length = 0; /* little-endian, as on every processor that fastwave runs on */
  if (weights.size < 8) quit("model.safetensors is too short in ", folder);
  memcpy(&length, weights.file, 8);
  if (length > weights.size - 8) quit("model.safetensors is damaged in ", folder);
  weights.data = 8 + length;
  weights.header = malloc(length + 1);
  if (weights.header == NULL) quit("out of memory", "");
  memcpy(weights.header, weights.file + 8, length);
  weights.header[length] = 0;
  return weights;
}

/* A float32 tensor of `count` elements, copied to memory that is aligned for floats. */
static float* tensor(const weights_t* weights, const char* name, int64_t count) {
  const char* entry = find_value(weights->header, name);
  if (strncmp(entry + strspn(entry, " {"), "\"dtype\":\"F32\"", 13) != 0) quit("this tensor is not float32: ", name);
  int64_t span[2] = {0, 0};
  find_list(entry, "data_offsets", span, 2);
  if (span[0] < 0 || span[1] - span[0] != count * 4 || (uint64_t)span[1] > weights->size - weights->data) {
    quit("this tensor does not have the size that the config asks for: ", name);
  }
  float* copy = malloc((size_t)count * 4);
  if (copy == NULL) quit("out of memory", "");
  memcpy(copy, weights->file + weights->data + span[0], (size_t)count * 4);
  return copy;
}

static void check(int32_t status) {
  char text[512];
  if (status == FW_OK) return;
  fw_last_error(text, sizeof text, NULL);
  quit("", text);
}

static void put(FILE* file, uint32_t value, int bytes) { /* little-endian */
  for (int i = 0; i < bytes; ++i) fputc((int)(value >> 8 * i & 255), file);
}

static void save_wav(const char* path, const int64_t* classes, int64_t samples, int64_t mu, uint32_t rate) {
  FILE* file = fopen(path, "wb");
  if (file == NULL) quit("cannot write ", path);
  const uint32_t bytes = (uint32_t)samples * 2;
  fputs("RIFF", file), put(file, 36 + bytes, 4), fputs("WAVEfmt ", file), put(file, 16, 4);
  put(file, 1, 2), put(file, 1, 2), put(file, rate, 4), put(file, rate * 2, 4), put(file, 2, 2), put(file, 16, 2);
  fputs("data", file), put(file, bytes, 4);
  for (int64_t i = 0; i < samples; ++i) {
    const double level = 2.0 * (double)classes[i] / (double)mu - 1; /* the inverse of mu-law companding */
    const float wave = (float)copysign(expm1(fabs(level) * log1p((double)mu)) / (double)mu, level);
    const long value = lrintf(wave * 32768.0f);
    put(file, (uint32_t)(value > 32767 ? 32767 : value), 2);
  }
  if (fclose(file) != 0) quit("cannot write ", path);
}

int main(int argc, char** argv) {
  if (argc != 5) quit("give a checkpoint folder, a wav file, seconds and a seed", "");
  uint64_t size = 0;
  char* config = read_file(argv[1], "config.json", &size);
  if (strncmp(find_value(config, "codec") + 1, "\"mu-law\"", 8) != 0 || find_integer(config, "condition_channels")) {
    quit("this example is for mu-law models without conditioning, not for ", argv[1]);
  }
  if (strstr(config, "\"codec_parameters\"") != NULL) { /* another mu, pre-emphasis: absent where they are the usual */
    quit("this example decodes mu-law without parameters, not that of ", argv[1]);
  }
  if (strstr(config, "\"excitation_channels\"") != NULL) { /* absent where there are none */
    quit("this example gives no excitation, which is needed by ", argv[1]);
  }
  static int64_t dilations[4096];
  fw_model_t model;
  memset(&model, 0, sizeof model);
  model.layers = find_list(config, "dilations", dilations, 4096);
  model.dilations = dilations;
  const int64_t l = model.layers, r = model.residual = find_integer(config, "residual_channels");
  const int64_t g = model.gate = find_integer(config, "gate_channels");
  const int64_t s = model.skip = find_integer(config, "skip_channels");
  const int64_t h = model.head = find_integer(config, "head_channels");
  const int64_t k = model.taps = find_integer(config, "kernel_size");
  const int64_t k0 = model.front_taps = find_integer(config, "front_kernel");
  const int64_t a = model.classes = model.outputs = find_integer(config, "classes");
  model.output = FW_CATEGORICAL;

  const weights_t weights = load_weights(argv[1]);
  model.front = tensor(&weights, "front.weight", k0 * a * r);
  model.dilated = tensor(&weights, "dilated.weight", l * k * r * 2 * g);
  model.dilated_bias = tensor(&weights, "dilated.bias", l * 2 * g);
  model.residual_weight = tensor(&weights, "residual.weight", (l - 1) * g * r);
  model.residual_bias = tensor(&weights, "residual.bias", (l - 1) * r);
  model.skip_weight = tensor(&weights, "skip.weight", l * g * s);
  model.skip_bias = tensor(&weights, "skip.bias", s);
  model.head0 = tensor(&weights, "head.0.weight", s * h);
  model.head0_bias = tensor(&weights, "head.0.bias", h);
  model.head1 = tensor(&weights, "head.1.weight", h * a);
  model.head1_bias = tensor(&weights, "head.1.bias", a);

  fw_features_t features;
  fw_engine_t* engine = NULL;
  check(fw_features_cpu(&features));
  check(fw_engine_create_cpu(&model, features.best_isa, FW_FLOAT32, 1, &engine));

  /* The model is first fed one receptive field of silence. */
  int64_t field = 1 + (k0 - 1);
  for (int64_t i = 0; i < l; ++i) field += (k - 1) * dilations[i];
  int64_t memory_floats = 0;
  check(fw_engine_memory_cpu(engine, &memory_floats));
  const int64_t rate = find_integer(config, "sample_rate"), samples = (int64_t)(atof(argv[3]) * (double)rate + 0.5);
  const int64_t longest = samples > field ? samples : field;
  int64_t time = 0, id = 0;
  int64_t* classes = malloc((size_t)longest * sizeof *classes);
  int64_t* last = malloc((size_t)k0 * sizeof *last);
  float* memory = malloc((size_t)memory_floats * sizeof *memory);
  if (samples < 1 || classes == NULL || last == NULL || memory == NULL) quit("no samples, or out of memory", "");
  for (int64_t i = 0; i < field; ++i) classes[i] = a / 2; /* the class of silence */

  fw_run_t run;
  memset(&run, 0, sizeof run);
  run.streams = 1;
  run.times = &time;
  run.ids = &id;
  run.memory = memory;
  run.last_classes = last;
  run.temperature = run.top_p = 1;
  run.seed = strtoull(argv[4], NULL, 10);
  run.samples = field;
  run.given_classes = classes;
  check(fw_engine_prime_cpu(engine, &run));

  run.samples = samples;
  run.given_classes = NULL;
  run.drawn_classes = classes;
  check(fw_engine_run_cpu(engine, &run)); /* or some samples at a time: the state is in memory, last and time */
  check(fw_engine_destroy_cpu(engine));
  save_wav(argv[2], classes, samples, a - 1, (uint32_t)rate);
  return 0; /* the operating system frees the rest */
}
