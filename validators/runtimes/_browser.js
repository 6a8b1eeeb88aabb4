// The page's half of _browser.py: opens an artifact, embeds images with it and times them.
//
// Large files come through the page's file input, by which the browser reads them from the disk itself: the WebAssembly and
// the artifact first, then the images, uint8 [N, H, W, 3] in row-major order with values 0-255. Embeddings, float32 [N, D],
// go back as base64.

const ORT = "/node_modules/onnxruntime-web/dist/";
const LITERT = "/node_modules/@litertjs/core/";

// Each takes (WebAssembly, artifact, number of threads) and returns {batch, run}: `batch` is the number of images that the
// artifact takes at a time or null for any number; `run` takes (pixels, [N, H, W, 3]) and returns [values, shape].
const openers = {
  async onnx(wasm, bytes, threads) {
    const ort = await import(ORT + "ort.wasm.bundle.min.mjs");
    ort.env.wasm.wasmBinary = wasm;
    ort.env.wasm.numThreads = threads;
    const session = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
    const inputs = session.inputMetadata;
    if (inputs.length !== 1 || inputs[0].type !== "uint8" || session.outputNames.length !== 1) {
      const found = inputs.map(each => `${each.name} ${each.type} [${each.shape}]`).join(", ");
      throw new Error(`expected one input, uint8 [N,3,H,W], and one output, found: ${found}; ${session.outputNames.length} outputs`);
    }
    const [name, output, batch] = [inputs[0].name, session.outputNames[0], inputs[0].shape[0]];
    return {
      batch: typeof batch === "number" ? batch : null,
      async run(pixels, [count, height, width]) {
        const image = new ort.Tensor("uint8", channelsFirst(pixels, count, height * width), [count, 3, height, width]);
        const found = (await session.run({ [name]: image }))[output];
        if (found.type !== "float32") throw new Error(`expected an output float32 [N,D], found ${found.type}`);
        return [found.data, found.dims];
      },
    };
  },

  async tflite(wasm, bytes, threads) {
    const litert = await import(LITERT + "dist/index.js");
    self.Module = { wasmBinary: wasm }; // where the library's script looks before it fetches the file
    await litert.loadLiteRt(LITERT + "wasm/", { threads: threads > 1 });
    const model = await litert.loadAndCompile(bytes, { accelerator: "wasm", cpuOptions: { numThreads: threads } });
    const [inputs, outputs] = [model.getInputDetails(), model.getOutputDetails()];
    const wanted = inputs.length === 1 && inputs[0].dtype === "uint8" && inputs[0].shape.length === 4;
    if (!wanted || inputs[0].shape[3] !== 3 || outputs.length !== 1 || outputs[0].dtype !== "float32") {
      const found = [...inputs, ...outputs].map(each => `'${each.name}' ${each.dtype} [${each.shape}]`).join(", ");
      throw new Error(`expected an input uint8 [N,H,W,3] and an output float32 [N,D], found ${found}`);
    }
    const takes = Array.from(inputs[0].shape);
    return {
      batch: takes[0],
      async run(pixels, shape) {
        if (shape.some((size, i) => size !== takes[i])) {
          throw new Error(`the file takes images [H,W,3] of [${takes.slice(1)}], these are [${shape.slice(1)}]`);
        }
        const image = new litert.Tensor(pixels, shape);
        let found = [];
        try {
          found = await model.run([image]);
          return [found[0].toTypedArray().slice(), Array.from(found[0].type.layout.dimensions)];
        } finally {
          // The library's memory is outside the page's: without this it grows with every image.
          for (const tensor of [image, ...found]) tensor.delete();
        }
      },
    };
  },
};

function channelsFirst(pixels, count, area) {
  const planes = new Uint8Array(pixels.length);
  for (let n = 0; n < count; n++) {
    for (let channel = 0; channel < 3; channel++) {
      const [from, to] = [3 * n * area + channel, (3 * n + channel) * area];
      for (let i = 0; i < area; i++) planes[to + i] = pixels[from + 3 * i];
    }
  }
  return planes;
}

function encoded(values) {
  const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  let text = "";
  for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return btoa(text);
}

// The bytes of the files in the page's input, in their order.
async function given() {
  const files = Array.from(document.querySelector("input").files);
  return Promise.all(files.map(async file => new Uint8Array(await file.arrayBuffer())));
}

let network;

window.compress = {
  // Milliseconds until the artifact can run: to compile the WebAssembly and to load the artifact, both in memory.
  async open(format, threads) {
    const [wasm, artifact] = await given();
    const start = performance.now();
    network = await openers[format](wasm, artifact, threads);
    return performance.now() - start;
  },

  async embed([count, ...size]) {
    const [pixels] = await given();
    const [step, bytes] = [network.batch ?? count, pixels.length / count];
    const rows = [];
    const start = performance.now();
    for (let i = 0; i < count; i += step) {
      const some = Math.min(step, count - i);
      const [values, shape] = await network.run(pixels.slice(i * bytes, (i + some) * bytes), [some, ...size]);
      if (shape.length !== 2 || shape[0] !== some) throw new Error(`expected an output [${some},D], found [${shape}]`);
      rows.push(...values);
    }
    const milliseconds = performance.now() - start;
    return { values: encoded(Float32Array.from(rows)), milliseconds };
  },

  // Milliseconds of single images in turn: from the pixels to the embedding, both in the page.
  async time([count, ...size], warmup, repeats) {
    const [pixels] = await given();
    const bytes = pixels.length / count;
    const milliseconds = [];
    for (let i = 0; i < warmup + repeats; i++) {
      const turn = (i < warmup ? i : i - warmup) % count;
      const image = pixels.slice(turn * bytes, (turn + 1) * bytes);
      const start = performance.now();
      await network.run(image, [1, ...size]);
      if (i >= warmup) milliseconds.push(performance.now() - start);
    }
    return milliseconds;
  },
};
