// The part of OfflineIndex that needs Android: its decoder, its SQLite, and LiteRT.
// build.gradle.kts: implementation("com.google.ai.edge.litert:litert:2.1.0"); Android 10 (API 29) or later.

package compress.offline

import android.database.Cursor
import android.database.sqlite.SQLiteDatabase
import android.graphics.Bitmap
import android.graphics.BitmapFactory
import android.graphics.ColorSpace
import java.io.ByteArrayOutputStream
import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import org.tensorflow.lite.Interpreter

/**
 * Opens a gallery, or begins one.
 *
 * @param bundle a folder with bundle.json and the artifact
 * @param path the artifact's path in it, e.g. artifacts/quickstart.fp32.tflite
 * @param gallery the file; one that `compress index` made, or one that does not exist yet
 */
fun openOfflineIndex(
    bundle: File, path: String, gallery: File, options: Interpreter.Options = Interpreter.Options()
): OfflineIndex {
    val artifact = Artifact(bundle, path, runtime = "litert")
    val embedder = LiteRT(artifact.file, artifact.embedding.dim, options)
    return OfflineIndex(artifact, AndroidDatabase(gallery), AndroidPictures, embedder)
}

/** A .tflite file in LiteRT's interpreter. */
class LiteRT(file: File, private val dim: Int, options: Interpreter.Options) : Embedder {
    private val interpreter = Interpreter(file, options)

    override fun embed(rgb: ByteArray): FloatArray {
        val input = ByteBuffer.allocateDirect(rgb.size).order(ByteOrder.nativeOrder()).put(rgb)
        input.rewind()
        val output = Array(1) { FloatArray(dim) }
        interpreter.run(input, output)
        return output[0]
    }

    override fun close() = interpreter.close()
}

object AndroidPictures : Pictures {
    override fun decode(file: ByteArray): Raster? {
        // Neither smaller nor multiplied by alpha: both would change the pixels that are resized.
        val options = BitmapFactory.Options().apply {
            inPremultiplied = false
            inPreferredConfig = Bitmap.Config.ARGB_8888
        }
        val bitmap = BitmapFactory.decodeByteArray(file, 0, file.size, options) ?: return null
        // Training takes the numbers in the file as they are, whatever the colour profile; getPixels would convert them.
        bitmap.setColorSpace(ColorSpace.get(ColorSpace.Named.SRGB))
        return BitmapRaster(bitmap)
    }

    override fun jpeg(rgb: ByteArray, width: Int, height: Int): ByteArray {
        fun at(index: Int): Int = rgb[index].toInt() and 255
        val colours = IntArray(width * height) {
            (255 shl 24) or (at(3 * it) shl 16) or (at(3 * it + 1) shl 8) or at(3 * it + 2)
        }
        val file = ByteArrayOutputStream()
        Bitmap.createBitmap(colours, width, height, Bitmap.Config.ARGB_8888).compress(Bitmap.CompressFormat.JPEG, 85, file)
        return file.toByteArray()
    }
}

private class BitmapRaster(private val bitmap: Bitmap) : Raster {
    override val width get() = bitmap.width
    override val height get() = bitmap.height

    override fun read(x: Int, y: Int, width: Int, height: Int, into: IntArray) =
        bitmap.getPixels(into, 0, width, x, y, width, height)
}

class AndroidDatabase(file: File) : Database {
    // Without collators, which would add a table of the phone's language.
    private val database = SQLiteDatabase.openDatabase(
        file.path, null,
        SQLiteDatabase.OPEN_READWRITE or SQLiteDatabase.CREATE_IF_NECESSARY or SQLiteDatabase.NO_LOCALIZED_COLLATORS
    )

    init {
        // One file that can be copied at any time, without a log beside it.
        database.rawQuery("PRAGMA journal_mode = DELETE", null).use { it.moveToNext() }
    }

    override fun execute(sql: String, vararg values: Any) {
        val statement = database.compileStatement(sql)
        try {
            for ((place, value) in values.withIndex()) {
                when (value) {
                    is Int -> statement.bindLong(place + 1, value.toLong())
                    is ByteArray -> statement.bindBlob(place + 1, value)
                    else -> statement.bindString(place + 1, value.toString())
                }
            }
            statement.execute()
        } finally {
            statement.close()
        }
    }

    override fun <T> rows(sql: String, read: (Row) -> T): List<T> = database.rawQuery(sql, null).use { cursor ->
        val found = ArrayList<T>()
        while (cursor.moveToNext()) found.add(read(CursorRow(cursor)))
        found
    }

    override fun <T> transaction(work: () -> T): T {
        database.beginTransaction()
        try {
            return work().also { database.setTransactionSuccessful() }
        } finally {
            database.endTransaction()
        }
    }

    override fun close() = database.close()
}

private class CursorRow(private val cursor: Cursor) : Row {
    override fun int(column: Int): Int = cursor.getInt(column)

    override fun text(column: Int): String = cursor.getString(column)

    override fun bytes(column: Int): ByteArray = cursor.getBlob(column)
}
