// The part of the bundle check that needs Android: LiteRT runs the .tflite file, SQLite reads the gallery.
// build.gradle: implementation "com.google.ai.edge.litert:litert:2.1.0" (or 1.4, or org.tensorflow:tensorflow-lite)

package compress.check

import android.database.sqlite.SQLiteDatabase
import android.graphics.BitmapFactory
import android.os.Build
import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.text.SimpleDateFormat
import java.util.Date
import java.util.Locale
import org.json.JSONTokener
import org.tensorflow.lite.Interpreter

/** The whole check, say in an instrumented test: `assertTrue(checkOnThisPhone(bundle, path).all { it.passed })`. */
fun checkOnThisPhone(bundle: File, artifact: String): List<Result> {
    val gallery = readGallery(File(bundle, "gallery/gallery.sqlite"))
    return TFLite(File(bundle, artifact), gallery.features.first().size, Interpreter.Options()).use { model ->
        checkBundle(bundle, artifact, gallery) { model.embed(it) }
    }
}

/**
 * Measures one artifact and writes [file] for `compress import-device-results`.
 *
 * @param by who measures
 * @param processor what [options] choose: `arm`, or `gpu` with `addDelegate(GpuDelegate())`
 */
fun measureOnThisPhone(
    bundle: File, artifact: String, file: File, by: String, threads: Int = 1, processor: String = "arm",
    options: Interpreter.Options = Interpreter.Options()
) {
    val gallery = readGallery(File(bundle, "gallery/gallery.sqlite"))
    val dim = gallery.features.first().size
    val phone = Phone(
        model = "${Build.MANUFACTURER} ${Build.MODEL}", system = "Android ${Build.VERSION.RELEASE}",
        runtime = "litert", version = LITERT, by = by, day = SimpleDateFormat("yyyy-MM-dd", Locale.ROOT).format(Date())
    )
    val found = measure(bundle, artifact, processor, threads, gallery, ::decode) {
        TFLite(File(bundle, artifact), dim, options.setNumThreads(threads))
    }
    file.writeText(deviceResults(bundle, phone, listOf(found)).toString(2))
}

/** The version in build.gradle. */
const val LITERT = "2.1.0"

/** A .tflite file in LiteRT's interpreter. */
class TFLite(file: File, private val dim: Int, options: Interpreter.Options) : Model {
    private val interpreter = Interpreter(file, options)

    override fun embed(pixels: ByteArray): FloatArray {
        val input = ByteBuffer.allocateDirect(pixels.size).order(ByteOrder.nativeOrder()).put(pixels)
        input.rewind()
        val output = Array(1) { FloatArray(dim) }
        interpreter.run(input, output)
        return output[0]
    }

    override fun close() = interpreter.close()
}

/** RGB bytes of an image file. A photograph must be turned by its EXIF orientation and resized first. */
fun decode(file: File): ByteArray {
    val bitmap = BitmapFactory.decodeFile(file.path)
    val colours = IntArray(bitmap.width * bitmap.height)
    bitmap.getPixels(colours, 0, bitmap.width, 0, 0, bitmap.width, bitmap.height)
    return ByteArray(colours.size * 3) { (colours[it / 3] shr (16 - 8 * (it % 3))).toByte() }
}

fun readGallery(file: File): Gallery {
    val database = SQLiteDatabase.openDatabase(file.path, null, SQLiteDatabase.OPEN_READONLY)
    try {
        val meta = HashMap<String, Any>()
        database.rawQuery("SELECT key, value FROM meta", null).use { row ->
            while (row.moveToNext()) meta[row.getString(0)] = JSONTokener(row.getString(1)).nextValue()
        }
        val kind = meta.getValue("kind") as String
        val dim = (meta.getValue("dim") as Number).toInt()
        val names = ArrayList<String>()
        val features = ArrayList<FloatArray>()
        database.rawQuery("SELECT name, feature FROM images ORDER BY id", null).use { row ->
            while (row.moveToNext()) {
                names.add(row.getString(0))
                features.add(decodeFeature(row.getBlob(1), kind, dim))
            }
        }
        return Gallery(meta.getValue("space_id") as String, meta.getValue("distance") as String, names, features)
    } finally {
        database.close()
    }
}
