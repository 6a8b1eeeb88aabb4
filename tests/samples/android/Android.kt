// What the samples use of Android's SQLite, for the JVM of a machine without a phone: SQLite itself, by way of JDBC.
// Signatures are those of the real classes.

package android.database.sqlite

import android.database.Cursor
import java.sql.Connection
import java.sql.DriverManager
import java.sql.PreparedStatement

class SQLiteDatabase private constructor(private val connection: Connection) {
    private var successful = false

    fun rawQuery(sql: String, selectionArgs: Array<String>?): Cursor {
        check(selectionArgs == null)
        connection.createStatement().use { statement ->
            statement.executeQuery(sql).use { found ->
                val columns = 1..found.metaData.columnCount
                val rows = generateSequence { if (found.next()) columns.map { found.getObject(it) } else null }
                return Cursor(rows.toList())
            }
        }
    }

    fun compileStatement(sql: String): SQLiteStatement = SQLiteStatement(connection.prepareStatement(sql))

    fun beginTransaction() {
        connection.autoCommit = false
        successful = false
    }

    fun setTransactionSuccessful() {
        successful = true
    }

    fun endTransaction() {
        if (successful) connection.commit() else connection.rollback()
        connection.autoCommit = true
    }

    fun close() = connection.close()

    companion object {
        const val OPEN_READWRITE = 0
        const val OPEN_READONLY = 1
        const val NO_LOCALIZED_COLLATORS = 16
        const val CREATE_IF_NECESSARY = 0x10000000

        @JvmStatic
        fun openDatabase(path: String, factory: Any?, flags: Int): SQLiteDatabase {
            check(factory == null)
            val mode = when (flags) {
                OPEN_READONLY -> "ro"
                OPEN_READWRITE or NO_LOCALIZED_COLLATORS or CREATE_IF_NECESSARY -> "rwc"
                else -> error("flags $flags")
            }
            return SQLiteDatabase(DriverManager.getConnection("jdbc:sqlite:file:$path?mode=$mode"))
        }
    }
}

class SQLiteStatement(private val statement: PreparedStatement) {
    fun bindLong(index: Int, value: Long) = statement.setLong(index, value)

    fun bindString(index: Int, value: String) = statement.setString(index, value)

    fun bindBlob(index: Int, value: ByteArray) = statement.setBytes(index, value)

    fun execute() {
        statement.execute()
    }

    fun close() = statement.close()
}
