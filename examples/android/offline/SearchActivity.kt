// A screen to search with: pick photographs into the gallery, search it with one of the album or of the camera. Framework
// views only: no layout file, no further dependency. Replace MainActivity with it; README.md says how.

package compress.offline

import android.app.Activity
import android.content.ContentValues
import android.content.Intent
import android.graphics.BitmapFactory
import android.net.Uri
import android.os.Bundle
import android.provider.MediaStore
import android.provider.OpenableColumns
import android.widget.Button
import android.widget.ImageView
import android.widget.LinearLayout
import android.widget.ScrollView
import android.widget.TextView
import java.io.File
import java.util.concurrent.Executors

/** The bundle is in the app's assets, in the folder `bundle`: bundle.json and this file. */
const val ARTIFACT = "artifacts/quickstart.fp32.tflite"

/** Of this share of different things, the screen may say that they match. */
const val FALSE_ACCEPTS = 0.01

class SearchActivity : Activity() {
    private val worker = Executors.newSingleThreadExecutor()
    private lateinit var index: OfflineIndex
    private lateinit var status: TextView
    private lateinit var results: LinearLayout
    private var photograph: Uri? = null

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        val page = LinearLayout(this)
        page.orientation = LinearLayout.VERTICAL
        page.setPadding(32, 96, 32, 32)
        for ((text, start) in listOf("Add photographs" to ::pick, "Search with a photograph" to ::choose, "Take one" to ::shoot)) {
            val button = Button(this)
            button.text = text
            button.setOnClickListener { start() }
            page.addView(button)
        }
        status = TextView(this)
        results = LinearLayout(this)
        results.orientation = LinearLayout.VERTICAL
        page.addView(status)
        page.addView(results)
        val scroll = ScrollView(this)
        scroll.addView(page)
        setContentView(scroll)
        work {
            index = openOfflineIndex(copiedBundle(), ARTIFACT, File(filesDir, "gallery.sqlite"))
            show("${index.size} photographs")
        }
    }

    override fun onDestroy() {
        worker.execute { if (::index.isInitialized) index.close() }
        worker.shutdown()
        super.onDestroy()
    }

    private fun pick() = startActivityForResult(images().putExtra(Intent.EXTRA_ALLOW_MULTIPLE, true), ADD)

    private fun choose() = startActivityForResult(images(), SEARCH)

    private fun images(): Intent = Intent(Intent.ACTION_GET_CONTENT).setType("image/*").addCategory(Intent.CATEGORY_OPENABLE)

    private fun shoot() {
        // A place in the album, which the camera app fills; it needs no permission from Android 10 on.
        val place = contentResolver.insert(MediaStore.Images.Media.EXTERNAL_CONTENT_URI, ContentValues())
        photograph = place
        startActivityForResult(Intent(MediaStore.ACTION_IMAGE_CAPTURE).putExtra(MediaStore.EXTRA_OUTPUT, place), SHOOT)
    }

    override fun onActivityResult(requestCode: Int, resultCode: Int, data: Intent?) {
        super.onActivityResult(requestCode, resultCode, data)
        val taken = photograph
        if (requestCode == SHOOT && resultCode != RESULT_OK && taken != null) contentResolver.delete(taken, null, null)
        if (resultCode != RESULT_OK) return
        val several = data?.clipData
        val chosen = when {
            requestCode == SHOOT -> listOfNotNull(taken)
            several != null -> (0 until several.itemCount).map { several.getItemAt(it).uri }
            else -> listOfNotNull(data?.data)
        }
        work { if (requestCode == ADD) add(chosen) else chosen.forEach { search(it) } }
    }

    private fun add(chosen: List<Uri>) {
        var done = 0
        for (some in chosen.chunked(20)) { // shown as it goes; each part is stored wholly or not at all
            val added = index.add(some.map { Photo(name(it)) { read(it) } })
            done += some.size
            val broken = if (added.undecodable.isEmpty()) "" else ", not readable: ${added.undecodable}"
            show("$done of ${chosen.size} added, ${index.size} photographs$broken")
        }
    }

    private fun search(photo: Uri) {
        val start = System.nanoTime()
        val within = index.threshold(FALSE_ACCEPTS) ?: Double.POSITIVE_INFINITY
        val matches = index.search(read(photo), top = 10, within = within)
        val milliseconds = (System.nanoTime() - start) / 1_000_000
        val thumbnails = matches.map { index.thumbnail(it.name) ?: ByteArray(0) }
        val found = if (matches.isEmpty()) "no match among" else "nearest of"
        show("$found ${index.size} photographs in $milliseconds ms") {
            results.removeAllViews()
            for ((match, jpeg) in matches.zip(thumbnails)) {
                val picture = ImageView(this)
                picture.setImageBitmap(BitmapFactory.decodeByteArray(jpeg, 0, jpeg.size))
                picture.contentDescription = match.name
                val words = TextView(this)
                words.text = "${match.name} ${match.label} ${"%.3f".format(match.distance)}"
                results.addView(picture, 300, 300)
                results.addView(words)
            }
        }
    }

    /** Does [task] on the worker; what goes wrong is shown. */
    private fun work(task: () -> Unit) = worker.execute {
        try {
            task()
        } catch (error: Exception) {
            show(error.message ?: error.toString())
        }
    }

    private fun show(text: String, more: () -> Unit = {}) = runOnUiThread {
        status.text = text
        more()
    }

    private fun read(photo: Uri): ByteArray = checkNotNull(contentResolver.openInputStream(photo)).use { it.readBytes() }

    /** The file's name in its album. */
    private fun name(photo: Uri): String =
        contentResolver.query(photo, arrayOf(OpenableColumns.DISPLAY_NAME), null, null, null)?.use {
            if (it.moveToNext()) it.getString(0) else null
        } ?: photo.toString()

    /** LiteRT opens files, and assets are none. */
    private fun copiedBundle(): File {
        val folder = File(filesDir, "bundle")
        for (path in listOf("bundle.json", ARTIFACT)) {
            val file = File(folder, path)
            file.parentFile?.mkdirs()
            assets.open("bundle/$path").use { from -> file.outputStream().use { from.copyTo(it) } }
        }
        return folder
    }

    private companion object {
        const val ADD = 1
        const val SEARCH = 2
        const val SHOOT = 3
    }
}
