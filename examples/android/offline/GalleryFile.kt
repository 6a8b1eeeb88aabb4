// The gallery file of `compress index`, read and written in place: the tables meta, images and sources in SQLite.
// Plain Kotlin; a Database is the platform's SQLite. docs/bundle.md describes the format.

package compress.offline

import java.nio.ByteBuffer
import java.nio.ByteOrder
import org.json.JSONObject
import org.json.JSONTokener

/** An open SQLite file. */
interface Database : AutoCloseable {
    /** Executes a statement; values are Int, String or ByteArray. */
    fun execute(sql: String, vararg values: Any)

    /** All rows of a query. */
    fun <T> rows(sql: String, read: (Row) -> T): List<T>

    /** Does [work] wholly or, if it throws, not at all. */
    fun <T> transaction(work: () -> T): T
}

/** A row of a query's result, columns from 0. */
interface Row {
    fun int(column: Int): Int

    fun text(column: Int): String

    fun bytes(column: Int): ByteArray
}

/** The key `embedding` of bundle.json. */
class Embedding(val dim: Int, val kind: String, val distance: String, val spaceId: String) {
    val binary: Boolean get() = kind == "binary"

    init {
        if (distance !in listOf("l2", "cosine", "hamming")) {
            throw OfflineIndexException("bundle.json: distance $distance is not supported; use a bundle with l2, cosine or hamming")
        }
    }

    /** The first values alone, which search the galleries of an older model. */
    fun first(count: Int) = Embedding(count, kind, distance, spaceId)

    /** The column `feature`: float32 little-endian, or bits activation > 0.5, the first one most significant. */
    fun pack(embedding: FloatArray): ByteArray {
        if (embedding.size != dim || embedding.any { !it.isFinite() }) {
            throw OfflineIndexException("the artifact gave ${embedding.size} values or NaN instead of $dim numbers")
        }
        if (!binary) {
            val bytes = ByteBuffer.allocate(4 * dim).order(ByteOrder.LITTLE_ENDIAN)
            for (value in embedding) bytes.putFloat(value)
            return bytes.array()
        }
        val bits = ByteArray((dim + 7) / 8)
        for (i in embedding.indices) {
            if (embedding[i] > 0.5f) bits[i / 8] = (bits[i / 8].toInt() or (128 shr (i % 8))).toByte()
        }
        return bits
    }

    /** The reverse of [pack]; a code's bits are 0f and 1f. */
    fun unpack(feature: ByteArray): FloatArray {
        if (feature.size != if (binary) (dim + 7) / 8 else 4 * dim) {
            throw OfflineIndexException("the gallery is damaged: a feature has ${feature.size} bytes")
        }
        if (binary) return FloatArray(dim) { ((feature[it / 8].toInt() shr (7 - it % 8)) and 1).toFloat() }
        val floats = ByteBuffer.wrap(feature).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer()
        return FloatArray(dim) { floats.get(it) }
    }
}

/** An image of the gallery without its thumbnail; [feature] is the column. */
class Stored(val name: String, val label: String, val feature: ByteArray)

/** A thumbnail and a feature, as they are stored. */
class Picture(val width: Int, val height: Int, val thumbnail: ByteArray, val feature: ByteArray)

/**
 * The file. Images are sorted by name and numbered from 0, so that the same photographs give the same content whichever
 * way they came in, and `compress index` and the app continue each other's files.
 *
 * @param origin what made the features: the values of `meta` that do not depend on the photographs
 * @param olderModel the model whose galleries can be searched, too
 */
class GalleryFile(
    private val database: Database, private val origin: Map<String, Any>, private val olderModel: Older? = null
) : AutoCloseable {
    /** Whether [olderModel] made the features. */
    val older: Boolean

    /** False for the gallery of a run or of an older model, which can only be searched. */
    val writable: Boolean

    init {
        val tables = database.rows("SELECT name FROM sqlite_master WHERE type = 'table'") { it.text(0) }
        if ("meta" !in tables) database.transaction { for (table in TABLES) database.execute(table) }
        val meta = meta()
        if (meta.isEmpty()) database.transaction { writeMeta(0) }
        older = meta["space_id"] != origin["space_id"] && olderModel != null && meta["space_id"] == olderModel.spaceId
        writable = meta.isEmpty() || ("artifact" in meta && !older)
        if (meta.isNotEmpty()) check(meta)
    }

    private fun check(meta: Map<String, Any>) {
        val schema = meta["schema"] as? Int ?: throw OfflineIndexException("the gallery is damaged: it has no schema")
        if (schema > 1) throw OfflineIndexException("the gallery is newer than this app; update the app")
        if (older) return checkOlder(meta, olderModel!!)
        val needed = listOf("space_id", "dim", "kind", "distance") +
            if (writable) listOf("artifact_sha256", "artifact", "runtime") else emptyList()
        for (key in needed) {
            if (meta[key] != origin[key]) {
                throw OfflineIndexException("the gallery's $key is ${meta[key]}, this artifact's is ${origin[key]}; make a new gallery")
            }
        }
    }

    /** As `compress search` does. */
    private fun checkOlder(meta: Map<String, Any>, model: Older) {
        if (meta["dim"] != model.dim || meta["kind"] != origin["kind"] || meta["distance"] != origin["distance"]) {
            throw OfflineIndexException("the gallery is damaged: its embeddings are not those of its space ${model.spaceId}")
        }
        if (model.failedGate != null) {
            throw OfflineIndexException(
                "an older model made the gallery, in which this one finds less (${model.failedGate} failed); make a new gallery"
            )
        }
    }

    private fun meta(): Map<String, Any> =
        database.rows("SELECT key, value FROM meta") { it.text(0) to JSONTokener(it.text(1)).nextValue() }.toMap()

    /** All images in their order. */
    fun images(): List<Stored> {
        val found = database.rows("SELECT id, name, label, feature FROM images ORDER BY id") {
            it.int(0) to Stored(it.text(1), it.text(2), it.bytes(3))
        }
        if (found.indices.any { found[it].first != it } || found.size != meta()["images"]) {
            throw OfflineIndexException("the gallery is damaged: its images are not numbered from 0")
        }
        return found.map { it.second }
    }

    /** The JPEG of image [number]. */
    fun thumbnail(number: Int): ByteArray =
        database.rows("SELECT thumbnail FROM images WHERE id = $number") { it.bytes(0) }.single()

    /** Changes the images; readers see all of it or nothing. */
    fun <T> update(work: Change.() -> T): T {
        if (!writable) {
            val what = if (older) "an older model" else "a run"
            throw OfflineIndexException("this is the gallery of $what and can only be searched; begin a new file")
        }
        return database.transaction {
            val result = Change().work()
            number()
            result
        }
    }

    /** What an update can do. */
    inner class Change {
        private val idOf = database.rows("SELECT id, name FROM images") { it.text(1) to it.int(0) }.toMap(HashMap())
        private val shaOf = database.rows("SELECT id, sha256 FROM sources") { it.int(0) to hex(it.bytes(1)) }.toMap(HashMap())
        private val idWith = shaOf.entries.associateTo(HashMap()) { it.value to it.key }
        private var next = (idOf.values.maxOrNull() ?: -1) + 1

        /** The picture of a file with this content, if there is one. */
        fun known(sha256: ByteArray): Picture? = idWith[hex(sha256)]?.let { id ->
            database.rows("SELECT width, height, thumbnail, feature FROM images WHERE id = $id") {
                Picture(it.int(0), it.int(1), it.bytes(2), it.bytes(3))
            }.single()
        }

        fun put(name: String, label: String, sha256: ByteArray, picture: Picture) {
            remove(name)
            val values = arrayOf(picture.width, picture.height, picture.thumbnail, picture.feature)
            database.execute("INSERT INTO images VALUES (?, ?, ?, -1, ?, ?, ?, ?)", next, name, label, *values)
            database.execute("INSERT INTO sources VALUES (?, ?)", next, sha256)
            idOf[name] = next
            shaOf[next] = hex(sha256)
            idWith[hex(sha256)] = next
            next += 1
        }

        /** False if there is no such image. */
        fun remove(name: String): Boolean {
            val id = idOf.remove(name) ?: return false
            database.execute("DELETE FROM images WHERE id = ?", id)
            database.execute("DELETE FROM sources WHERE id = ?", id)
            val sha256 = shaOf.remove(id)
            if (sha256 != null && idWith[sha256] == id) {
                // Another image may be a copy of the file.
                val copy = shaOf.entries.firstOrNull { it.value == sha256 }
                if (copy == null) idWith.remove(sha256) else idWith[sha256] = copy.key
            }
            return true
        }
    }

    /** Numbers the images by name and the labels by label, as `compress index` does. */
    private fun number() {
        val ids = database.rows("SELECT id FROM images ORDER BY name") { it.int(0) }
        for (table in listOf("images", "sources")) {
            // Through negative numbers, because a number may still be in use.
            for ((number, id) in ids.withIndex()) {
                if (number != id) database.execute("UPDATE $table SET id = ? WHERE id = ?", -1 - number, id)
            }
            database.execute("UPDATE $table SET id = -1 - id WHERE id < 0")
        }
        val labels = database.rows("SELECT DISTINCT label FROM images WHERE label <> '' ORDER BY label") { it.text(0) }
        val number = labels.withIndex().associate { it.value to it.index } + ("" to -1)
        val given = database.rows("SELECT DISTINCT label, class FROM images") { it.text(0) to it.int(1) }
        for (label in given.filter { number[it.first] != it.second }.map { it.first }.distinct()) {
            database.execute("UPDATE images SET class = ? WHERE label = ?", number.getValue(label), label)
        }
        writeMeta(ids.size)
    }

    private fun writeMeta(images: Int) {
        for ((key, value) in origin + mapOf("images" to images, "of" to images)) {
            val json = if (value is String) JSONObject.quote(value) else value.toString()
            database.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", key, json)
        }
    }

    override fun close() = database.close()

    private companion object {
        val TABLES = listOf(
            "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
            "CREATE TABLE images (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, label TEXT NOT NULL, " +
                "class INTEGER NOT NULL, width INTEGER NOT NULL, height INTEGER NOT NULL, thumbnail BLOB NOT NULL, " +
                "feature BLOB NOT NULL)",
            "CREATE TABLE sources (id INTEGER PRIMARY KEY, sha256 BLOB NOT NULL)"
        )
    }
}

internal fun hex(bytes: ByteArray): String = bytes.joinToString("") { "%02x".format(it) }
