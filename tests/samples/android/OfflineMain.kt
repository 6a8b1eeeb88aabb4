// Drives OfflineIndex as an app would: main BUNDLE ARTIFACT GALLERY, one command per line of standard input, its words
// separated by tabs; a line of JSON answers each.

package samples

import compress.offline.OfflineIndex
import compress.offline.OfflineIndexException
import compress.offline.Photo
import compress.offline.openOfflineIndex
import java.io.File
import java.io.IOException
import java.util.Base64
import org.json.JSONArray
import org.json.JSONObject

object Offline {
    @JvmStatic
    fun main(arguments: Array<String>) {
        val (bundle, artifact, gallery) = arguments
        openOfflineIndex(File(bundle), artifact, File(gallery)).use { index ->
            for (line in generateSequence(::readlnOrNull)) {
                val words = line.split("\t")
                val answer = runCatching { answer(index, words.first(), words.drop(1)) }.getOrElse {
                    if (it !is OfflineIndexException && it !is IOException) throw it
                    JSONObject().put("error", it.message)
                }
                println(answer)
            }
        }
    }

    private fun answer(index: OfflineIndex, command: String, words: List<String>): JSONObject = when (command) {
        "add" -> { // NAME LABEL FILE, again and again
            val photos = words.chunked(3).map { (name, label, file) -> Photo(name, label) { File(file).readBytes() } }
            val added = index.add(photos)
            JSONObject().put("embedded", added.embedded).put("unchanged", added.unchanged)
                .put("undecodable", JSONArray(added.undecodable)).put("size", index.size)
        }
        "threshold" -> JSONObject().put("distance", index.threshold(words[0].toDouble()) ?: JSONObject.NULL)
        "remove" -> JSONObject().put("removed", index.remove(words)).put("size", index.size)
        "search" -> { // FILE TOP WITHIN
            val matches = index.search(File(words[0]).readBytes(), words[1].toInt(), words[2].toDouble())
            JSONObject().put("matches", JSONArray(matches.map {
                JSONObject().put("name", it.name).put("label", it.label).put("distance", it.distance)
            }))
        }
        "evaluate" -> {
            val scores = index.evaluate()
            JSONObject().put("queries", scores.queries).put("empty", scores.empty).put("mAP", scores.mAP)
                .put("mPC@5", scores.mPC).put("P@1", scores.precision)
        }
        "prepare" -> { // FILE
            val rgb = index.prepared(File(words[0]).readBytes())
            JSONObject().put("pixels", rgb?.let { Base64.getEncoder().encodeToString(it) } ?: JSONObject.NULL)
        }
        "thumbnail" -> {
            val jpeg = index.thumbnail(words[0])
            JSONObject().put("jpeg", jpeg?.let { Base64.getEncoder().encodeToString(it) } ?: JSONObject.NULL)
        }
        else -> error(command)
    }
}
