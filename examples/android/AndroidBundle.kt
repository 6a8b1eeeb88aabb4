// The part of the bundle check that needs Android: LiteRT runs the .tflite file, SQLite reads the gallery.
// build.gradle: implementation "com.google.ai.edge.litert:litert:2.1.0" (or 1.4, or org.tensorflow:tensorflow-lite)

package compress.check

import android.database.sqlite.SQLiteDatabase
import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import org.json.JSONTokener
import org.tensorflow.lite.Interpreter

/** The whole check, say in an instrumented test: `assertTrue(checkOnThisPhone(bundle, path).all { it.passed })`. */
fun checkOnThisPhone(bundle: File, artifact: String): List<Result> {
    val gallery = readGallery(File(bundle, "gallery/gallery.sqlite"))
    val dim = gallery.features.first().size
    val interpreter = Interpreter(File(bundle, artifact))
    try {
        return checkBundle(bundle, artifact, gallery) { pixels ->
            val input = ByteBuffer.allocateDirect(pixels.size).order(ByteOrder.nativeOrder()).put(pixels)
            input.rewind()
            val output = Array(1) { FloatArray(dim) }
            interpreter.run(input, output)
            output[0]
        }
    } finally {
        interpreter.close()
    }
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
