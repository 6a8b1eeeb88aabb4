// A gallery of the user's own photographs on the phone: add, remove, search, evaluate, all offline. The file is the one
// that `compress index` writes; either continues the other's. Plain Kotlin: Android.kt has what needs Android.

package compress.offline

import java.io.File
import java.security.MessageDigest
import kotlin.math.max
import org.json.JSONArray
import org.json.JSONObject

class OfflineIndexException(message: String) : Exception(message)

/** A loaded artifact: RGB bytes of one image, H x W x 3, to its embedding. */
interface Embedder : AutoCloseable {
    fun embed(rgb: ByteArray): FloatArray
}

/** What an app needs of a bundle: bundle.json and one artifact. */
class Artifact(bundle: File, path: String, runtime: String) {
    val file = File(bundle, path)
    val embedding: Embedding
    val preprocess: Preprocess

    private val thresholds: Map<Double, Double>

    /** The older model whose galleries this artifact was trained to search; null if there is none. */
    val older: Older?

    /** The values of the gallery's table `meta` that say what made the features. */
    val origin: Map<String, Any>

    init {
        val manifest = JSONObject(File(bundle, "bundle.json").readText())
        val entry = manifest.getJSONArray("artifacts").objects().firstOrNull { it.getString("path") == path }
            ?: throw OfflineIndexException("bundle.json: there is no artifact $path")
        val sha256 = hex(sha256(file.readBytes()))
        if (sha256 != entry.getString("sha256")) throw OfflineIndexException("$path: is not the file of bundle.json")
        thresholds = measured(entry)
        older = olderModel(manifest)
        val about = manifest.getJSONObject("embedding")
        val spaceId = about.getString("space_id")
        embedding = Embedding(about.getInt("dim"), about.getString("kind"), about.getString("distance"), spaceId)
        preprocess = Preprocess.of(manifest.getJSONObject("preprocess"))
        origin = mapOf(
            "schema" to 1, "name" to manifest.getString("name"), "space_id" to spaceId, "dim" to embedding.dim,
            "kind" to embedding.kind, "distance" to embedding.distance,
            "dtype" to if (embedding.binary) "bits, most significant first" else "float32 little-endian",
            "artifact" to file.name, "artifact_sha256" to sha256, "runtime" to runtime
        )
    }

    /**
     * The distance up to which two images show the same thing, measured when the bundle was made; null if the bundle has
     * none for this rate.
     *
     * @param falseAcceptRate share of different things that are taken for the same, such as 0.001
     */
    fun threshold(falseAcceptRate: Double): Double? = thresholds[falseAcceptRate]
}

/** An older model; [failedGate] says that this one finds less in its galleries than the older one did. */
class Older(val spaceId: String, val dim: Int, val failedGate: String?)

/** The key `upgrade` of bundle.json: bundles that were not trained for it have none. */
private fun olderModel(manifest: JSONObject): Older? = manifest.optJSONObject("upgrade")?.let { upgrade ->
    val failed = upgrade.getJSONArray("gates").objects().firstOrNull { !it.getBoolean("passed") }
    Older(upgrade.getString("space_id"), upgrade.getInt("dim"), failed?.getString("name"))
}

/** Of an artifact in bundle.json, the distance of a match by false-accept rate; older bundles have none. */
private fun measured(entry: JSONObject): Map<Double, Double> =
    entry.optJSONObject("thresholds")?.optJSONArray("at")?.objects().orEmpty()
        .filter { !it.isNull("distance") }
        .associate { it.getDouble("false_accept_rate") to it.getDouble("distance") }

/**
 * A photograph to add.
 *
 * @param name stays the same when the photograph is added again, such as its path in the album
 * @param label what it shows, for [OfflineIndex.evaluate]; empty if nobody has said
 */
class Photo(val name: String, val label: String = "", val read: () -> ByteArray)

/** An image of the gallery and its distance: bits that differ, Euclidean, or 1 - cosine. */
data class Match(val name: String, val label: String, val distance: Double)

/** What [OfflineIndex.add] did; [undecodable] are the names of files that are no pictures. */
class Added(val embedded: Int, val unchanged: Int, val undecodable: List<String>)

/**
 * The gallery. All methods wait for the phone's storage or its processor: call them from one worker thread.
 *
 * @param database the gallery file; a new one becomes an empty gallery. That of a run, or of an older model, can only be
 *   searched
 */
class OfflineIndex(
    private val artifact: Artifact, database: Database, private val pictures: Pictures, private val embedder: Embedder
) : AutoCloseable {
    private val gallery = GalleryFile(database, artifact.origin, artifact.older)
    private val stored = artifact.embedding.let { if (gallery.older) it.first(artifact.older!!.dim) else it }
    private var images = gallery.images()
    private var features = Features(stored, images.map { it.feature })

    /** As [Artifact.threshold]; null in a gallery of an older model, where distances are others. */
    fun threshold(falseAcceptRate: Double): Double? =
        if (gallery.older) null else artifact.threshold(falseAcceptRate)

    val size: Int get() = images.size
    val names: List<String> get() = images.map { it.name }

    /** Adds photographs, or replaces those of the same name. Only content that the gallery lacks is embedded. */
    fun add(photos: List<Photo>): Added {
        val undecodable = ArrayList<String>()
        var embedded = 0
        gallery.update {
            for (photo in photos) {
                val file = photo.read()
                val hash = sha256(file)
                val stored = known(hash)
                val picture = stored ?: pictureOf(file)
                if (picture == null) {
                    undecodable.add(photo.name)
                    continue
                }
                put(photo.name, photo.label, hash, picture)
                if (stored == null) embedded += 1
            }
        }
        reload()
        return Added(embedded, photos.size - embedded - undecodable.size, undecodable)
    }

    /** Removes images; returns how many there were. */
    fun remove(names: Collection<String>): Int {
        val removed = gallery.update { names.count { remove(it) } }
        reload()
        return removed
    }

    /**
     * The [top] nearest images of a photograph, nearest first; equal distances in the gallery's order.
     *
     * @param within leave out images that are farther: an empty list then says "not in here"
     * @throws OfflineIndexException [file] is no picture
     */
    fun search(file: ByteArray, top: Int = 10, within: Double = Double.POSITIVE_INFINITY): List<Match> {
        val rgb = prepared(file) ?: throw OfflineIndexException("this file is no picture")
        return nearest(embedder.embed(rgb), top, within)
    }

    /** As [search], of an embedding; [without] names an image that is left out, such as the query itself. */
    fun nearest(
        query: FloatArray, top: Int = 10, within: Double = Double.POSITIVE_INFINITY, without: String? = null
    ): List<Match> {
        artifact.embedding.pack(query) // checks it
        val distances = features.distances(query.copyOf(stored.dim)) // an older model's space has fewer values
        return features.ranked(distances).first.asSequence()
            .filter { images[it].name != without }
            .take(top)
            .filter { distances[it] <= within }
            .map { Match(images[it].name, images[it].label, distances[it]) }
            .toList()
    }

    /** The JPEG that is shown for an image; null if there is no such image. */
    fun thumbnail(name: String): ByteArray? =
        images.indexOfFirst { it.name == name }.takeIf { it >= 0 }?.let { gallery.thumbnail(it) }

    /** How well the labelled images find each other. */
    fun evaluate(k: Int = 5): Scores = evaluate(features, images.map { it.label }, k)

    /** What the artifact gets for a photograph, H x W x 3; null if it is no picture. */
    fun prepared(file: ByteArray): ByteArray? =
        pictures.decode(file)?.let { prepare(it, orientation(file), artifact.preprocess) }

    override fun close() {
        gallery.close()
        embedder.close()
    }

    private fun pictureOf(file: ByteArray): Picture? {
        val rgb = prepared(file) ?: return null
        val feature = artifact.embedding.pack(embedder.embed(rgb))
        val from = artifact.preprocess
        val shrink = max(1.0, max(from.width, from.height) / THUMBNAIL.toDouble())
        val width = max(1, Math.rint(from.width / shrink).toInt())
        val height = max(1, Math.rint(from.height / shrink).toInt())
        val jpeg = pictures.jpeg(resize(rgb, from.width, from.height, width, height), width, height)
        return Picture(width, height, jpeg, feature)
    }

    private fun reload() {
        images = gallery.images()
        features = Features(stored, images.map { it.feature })
    }

    private companion object {
        /** Longest side in pixels, as `compress index` has it. */
        const val THUMBNAIL = 96
    }
}

internal fun sha256(bytes: ByteArray): ByteArray = MessageDigest.getInstance("SHA-256").digest(bytes)

private fun JSONArray.objects(): List<JSONObject> = (0 until length()).map { getJSONObject(it) }
