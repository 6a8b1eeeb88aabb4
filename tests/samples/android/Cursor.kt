package android.database

import java.io.Closeable

class Cursor(private val rows: List<List<Any?>>) : Closeable {
    private var at = -1

    fun moveToNext(): Boolean = ++at < rows.size

    fun getInt(column: Int): Int = (rows[at][column] as Number).toInt()

    fun getString(column: Int): String = rows[at][column] as String

    fun getBlob(column: Int): ByteArray = rows[at][column] as ByteArray

    override fun close() = Unit
}
