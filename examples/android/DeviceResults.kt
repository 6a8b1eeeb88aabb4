// Measures a bundle's file on this phone, and writes what `compress import-device-results BUNDLE FILE` takes in: the
// embeddings of the golden images, times and memory. Scores are computed there. The part without Android.

package compress.check

import java.io.File
import java.security.MessageDigest
import java.util.Base64
import kotlin.math.ceil
import org.json.JSONArray
import org.json.JSONObject

/** A loaded artifact: RGB bytes of one image, H x W x 3, to its embedding. */
interface Model : AutoCloseable {
    fun embed(pixels: ByteArray): FloatArray
}

/** What the file says of the phone and of who measured; [day] is YYYY-MM-DD. */
class Phone(val model: String, val system: String, val runtime: String, val version: String, val by: String, val day: String)

/** The whole file; [artifacts] are the results of [measure]. */
fun deviceResults(bundle: File, phone: Phone, artifacts: List<JSONObject>): JSONObject = JSONObject()
    .put("schema", 1)
    .put("golden_sha256", sha256(File(bundle, "golden/images.u8")))
    .put("device", JSONObject().put("model", phone.model).put("system", phone.system))
    .put("runtime", JSONObject().put("name", phone.runtime).put("version", phone.version))
    .put("measured", JSONObject().put("by", phone.by).put("at", phone.day))
    .put("artifacts", JSONArray(artifacts))

/**
 * One artifact on one processor. Run it in a process of its own: cold load and peak memory are the process's.
 *
 * @param artifact its path in the bundle, e.g. artifacts/quickstart.fp32.tflite
 * @param processor `arm`, `gpu` or `npu`
 * @param decode an image file to RGB bytes, as the app does it
 * @param load opens the artifact
 */
fun measure(
    bundle: File, artifact: String, processor: String, threads: Int, gallery: Gallery, decode: (File) -> ByteArray,
    load: () -> Model
): JSONObject {
    val result = JSONObject().put("path", artifact).put("sha256", sha256(File(bundle, artifact))).put("processor", processor)
    val golden = JSONObject(File(bundle, "golden/golden.json").readText())
    val shape = golden.getJSONObject("tensors").getJSONArray("shape")
    val count = shape.getInt(0)
    val size = shape.getInt(1) * shape.getInt(2) * shape.getInt(3)
    val pixels = File(bundle, "golden/images.u8").readBytes()
    val images = List(count) { pixels.copyOfRange(it * size, (it + 1) * size) }
    val files = List(count) { File(bundle, "golden/" + golden.getJSONArray("images").getJSONObject(it).getString("file")) }
    check(decode(files[0]).contentEquals(images[0])) { "${files[0]}: this phone decodes other pixels than golden/images.u8" }
    try {
        val start = System.nanoTime()
        load().use { model ->
            model.embed(images[0])
            result.put("load_ms", (System.nanoTime() - start) / 1e6)
            val embeddings = images.map { model.embed(it) }
            result.put("embeddings", packed(embeddings))
            result.put("latency_ms", times { model.embed(images[it % count]) }.put("threads", threads))
            result.put("pipeline_ms", times { nearest(gallery, model.embed(decode(files[it % count])), 10, null) })
        }
        peakBytes()?.let { result.put("peak_bytes", it) }
    } catch (error: Exception) { // the runtime refused the file, or died in a way that Java sees
        val reason = error.toString().replace(Regex("\\s+"), " ").trim().take(1000)
        for (key in listOf("load_ms", "embeddings", "latency_ms", "pipeline_ms")) result.remove(key)
        result.put("failure", reason)
    }
    return result
}

/** Median and 95th percentile in milliseconds of 100 runs, after 10 to warm up. */
fun times(run: (Int) -> Unit): JSONObject {
    repeat(10) { run(it) }
    val found = List(100) {
        val start = System.nanoTime()
        run(it)
        (System.nanoTime() - start) / 1e6
    }.sorted()
    val median = (found[49] + found[50]) / 2
    return JSONObject().put("median", median).put("p95", found[ceil(found.size * 0.95).toInt() - 1])
}

fun sha256(file: File): String {
    val digest = MessageDigest.getInstance("SHA-256")
    file.inputStream().use { input ->
        val buffer = ByteArray(1 shl 16)
        generateSequence { input.read(buffer).takeIf { it >= 0 } }.forEach { digest.update(buffer, 0, it) }
    }
    return digest.digest().joinToString("") { "%02x".format(it) }
}

/** float32 little-endian in base64; a NaN stays one, and is refused by the import. */
private fun packed(embeddings: List<FloatArray>): JSONObject {
    val dim = embeddings.first().size
    val bytes = java.nio.ByteBuffer.allocate(embeddings.size * dim * 4).order(java.nio.ByteOrder.LITTLE_ENDIAN)
    for (row in embeddings) for (value in row) bytes.putFloat(value)
    return JSONObject()
        .put("shape", JSONArray(listOf(embeddings.size, dim)))
        .put("base64", Base64.getEncoder().encodeToString(bytes.array()))
}

/** The most memory this process had, as Linux and Android count it. */
private fun peakBytes(): Long? = File("/proc/self/status").takeIf { it.canRead() }?.readLines()
    ?.firstOrNull { it.startsWith("VmHWM:") }?.filter { it.isDigit() }?.toLongOrNull()?.times(1024)
