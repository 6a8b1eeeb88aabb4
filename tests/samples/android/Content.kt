package android.content

import android.content.res.AssetManager
import android.database.Cursor
import android.net.Uri
import java.io.File
import java.io.InputStream

open class Context {
    val contentResolver: ContentResolver = ContentResolver()
    val assets: AssetManager = AssetManager()
    val filesDir: File get() = error("no phone")
}

class ContentValues

class ContentResolver {
    fun insert(url: Uri, values: ContentValues?): Uri? = error("no album $url, $values")

    fun delete(url: Uri, where: String?, selectionArgs: Array<String>?): Int = error("no album $url, $where, $selectionArgs")

    fun openInputStream(uri: Uri): InputStream? = error("no album $uri")

    fun query(
        uri: Uri, projection: Array<String>?, selection: String?, selectionArgs: Array<String>?, sortOrder: String?
    ): Cursor? = error("no album $uri, $projection, $selection, $selectionArgs, $sortOrder")
}

class ClipData(val itemCount: Int) {
    class Item(val uri: Uri)

    fun getItemAt(index: Int): Item = error("no item $index")
}

class Intent(val action: String) {
    val clipData: ClipData? = null
    val data: Uri? = null

    fun setType(type: String?): Intent = apply { check(type != null) }

    fun addCategory(category: String): Intent = apply { check(category != "") }

    fun putExtra(name: String, value: Boolean): Intent = apply { check(name != "" || value) }

    fun putExtra(name: String, value: android.os.Parcelable?): Intent = apply { check(name != "" || value != null) }

    companion object {
        const val ACTION_GET_CONTENT = "android.intent.action.GET_CONTENT"
        const val CATEGORY_OPENABLE = "android.intent.category.OPENABLE"
        const val EXTRA_ALLOW_MULTIPLE = "android.intent.extra.ALLOW_MULTIPLE"
    }
}
