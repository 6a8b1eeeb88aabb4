package android.database

import java.io.Closeable
import java.util.Base64
import org.json.JSONArray

/** Rows that phone.py printed as JSON; a BLOB is base64. */
class Cursor(text: String) : Closeable {
    private val rows = JSONArray(text)
    private var at = -1

    fun moveToNext(): Boolean = ++at < rows.length()

    fun getString(column: Int): String = rows.getJSONArray(at).getString(column)

    fun getBlob(column: Int): ByteArray = Base64.getDecoder().decode(getString(column))

    override fun close() = Unit
}
