// Does this phone's runtime give what the bundle promises? The part without Android: golden pack, distances, ranking.
// AndroidBundle.kt runs the .tflite file and reads the gallery; examples/python/check_bundle.py is the same in Python.
// Needs org.json, which Android has.

package compress.check

import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import kotlin.math.sqrt
import org.json.JSONObject

/** gallery/gallery.sqlite in memory; a code's bits are 0f and 1f. */
class Gallery(val spaceId: String, val distance: String, val names: List<String>, val features: List<FloatArray>)

/** A value that was measured, and its limit in bundle.json. */
data class Result(val name: String, val value: Double, val limit: Double) {
    val passed: Boolean get() = value >= limit // false for NaN
}

/** The feature column: float32 little-endian, or a code whose first bit is the most significant one. */
fun decodeFeature(blob: ByteArray, kind: String, dim: Int): FloatArray {
    if (kind == "binary") {
        return FloatArray(dim) { bit -> ((blob[bit / 8].toInt() shr (7 - bit % 8)) and 1).toFloat() }
    }
    val floats = ByteBuffer.wrap(blob).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer()
    return FloatArray(dim) { floats.get(it) }
}

fun distance(a: FloatArray, b: FloatArray, kind: String): Double = when (kind) {
    "hamming" -> a.indices.count { (a[it] > 0.5f) != (b[it] > 0.5f) }.toDouble()
    "cosine" -> 1 - cosine(a, b, 0.0)
    else -> sqrt(a.indices.map { (a[it].toDouble() - b[it]) * (a[it].toDouble() - b[it]) }.sum())
}

/** Cosine after subtracting [zero]: 0, or 0.5 for the activations of a code. */
fun cosine(a: FloatArray, b: FloatArray, zero: Double): Double {
    var dot = 0.0
    var aa = 0.0
    var bb = 0.0
    for (i in a.indices) {
        val x = a[i] - zero
        val y = b[i] - zero
        dot += x * y
        aa += x * x
        bb += y * y
    }
    return dot / sqrt(aa * bb)
}

/** Rows of the [k] nearest gallery images; equal distances in the gallery's order. */
fun nearest(gallery: Gallery, query: FloatArray, k: Int, without: String?): List<Int> {
    val distances = gallery.features.map { distance(query, it, gallery.distance) }
    return gallery.names.indices.filter { gallery.names[it] != without }.sortedBy { distances[it] }.take(k)
}

/**
 * Runs the golden images through [embed] (RGB bytes of one image, H x W x 3, to its embedding) and compares with the
 * golden pack: `min_cosine`, and `golden_neighbours`, the mean share of neighbours that are right.
 *
 * @param artifact its path in the bundle, e.g. artifacts/quickstart.fp32.tflite
 */
fun checkBundle(bundle: File, artifact: String, gallery: Gallery, embed: (ByteArray) -> FloatArray): List<Result> {
    val manifest = JSONObject(File(bundle, "bundle.json").readText())
    val embedding = manifest.getJSONObject("embedding")
    check(gallery.spaceId == embedding.getString("space_id")) { "the gallery was made by another model" }
    val entries = manifest.getJSONArray("artifacts")
    val entry = (0 until entries.length()).map { entries.getJSONObject(it) }.first { it.getString("path") == artifact }
    val gates = entry.getJSONArray("gates")
    val limits = (0 until gates.length()).map { gates.getJSONObject(it) }
        .associate { it.getString("name") to it.getDouble("limit") }

    val golden = JSONObject(File(bundle, "golden/golden.json").readText())
    val leaveOneOut = golden.getJSONObject("gallery").getBoolean("leave_one_out")
    val shape = golden.getJSONObject("tensors").getJSONArray("shape")
    val imageBytes = shape.getInt(1) * shape.getInt(2) * shape.getInt(3)
    val pixels = File(bundle, "golden/images.u8").readBytes()
    val dim = embedding.getInt("dim")
    val embeddings = File(bundle, "golden/embeddings.f32").readBytes()
    val zero = if (embedding.getString("kind") == "binary") 0.5 else 0.0

    val cosines = ArrayList<Double>()
    val shares = ArrayList<Double>()
    for (i in 0 until shape.getInt(0)) {
        val image = golden.getJSONArray("images").getJSONObject(i)
        val expected = decodeFeature(embeddings.copyOfRange(i * dim * 4, (i + 1) * dim * 4), "float", dim)
        val found = embed(pixels.copyOfRange(i * imageBytes, (i + 1) * imageBytes))
        cosines.add(cosine(found, expected, zero))
        val neighbours = image.getJSONArray("neighbours")
        // A neighbour is right if the PyTorch model has it no farther than its last one, so that ties cost nothing.
        val limit = neighbours.getJSONObject(neighbours.length() - 1).getDouble("distance") * (1 + 1e-5)
        val without = if (leaveOneOut) image.getString("source") else null
        val rows = nearest(gallery, found, neighbours.length(), without)
        shares.add(rows.count { distance(expected, gallery.features[it], gallery.distance) <= limit } / rows.size.toDouble())
    }
    // Not min(), which would hide a NaN.
    val worst = if (cosines.any { it.isNaN() }) Double.NaN else cosines.sorted().first()
    return listOf(
        Result("min_cosine", worst, limits.getValue("min_cosine")),
        Result("golden_neighbours", shares.average(), limits.getValue("golden_neighbours"))
    )
}
