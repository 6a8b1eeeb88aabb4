// What the samples use of Android and LiteRT, for the JVM of a machine without a phone. phone.py does the work: LiteRT
// itself executes the file, SQLite itself reads the gallery. Signatures are those of the real classes.

package android.database.sqlite

import android.database.Cursor
import samples.ask

class SQLiteDatabase private constructor(private val path: String) {
    fun rawQuery(sql: String, selectionArgs: Array<String>?): Cursor = Cursor(ask("sqlite", path, sql))

    fun close() = Unit

    companion object {
        const val OPEN_READONLY = 1

        @JvmStatic
        fun openDatabase(path: String, factory: Any?, flags: Int): SQLiteDatabase {
            check(flags == OPEN_READONLY && factory == null)
            return SQLiteDatabase(path)
        }
    }
}
