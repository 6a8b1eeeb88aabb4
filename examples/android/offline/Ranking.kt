// Distances, rankings and scores, as Compress computes them: equal distances are ties, and scores are averaged over all
// orders of tied images. Plain Kotlin.

package compress.offline

import kotlin.math.max
import kotlin.math.min
import kotlin.math.sqrt

/** The features of a gallery in memory, to measure distances from a query. */
class Features(private val embedding: Embedding, rows: List<ByteArray>) {
    val size = rows.size
    private val values = rows.map { embedding.unpack(it) }
    private val squares = DoubleArray(size) { i -> values[i].sumOf { it.toDouble() * it } }

    fun row(number: Int): FloatArray = values[number]

    /**
     * From [query] to every image: bits that differ, Euclidean distance, or 1 - cosine. They are ranked at the precision
     * of float32, so that two copies of one picture tie on every machine.
     */
    fun distances(query: FloatArray): DoubleArray {
        val square = query.sumOf { it.toDouble() * it }
        return DoubleArray(size) { i ->
            val row = values[i]
            when (embedding.distance) {
                "hamming" -> row.indices.count { (row[it] > 0.5f) != (query[it] > 0.5f) }.toDouble()
                "cosine" -> {
                    var dot = 0.0
                    for (d in row.indices) dot += row[d].toDouble() * query[d]
                    val length = sqrt(squares[i]) * sqrt(square)
                    // A zero vector has no direction and is at distance 1 from everything.
                    if (length > 0) 1 - dot / length else 1.0
                }
                else -> {
                    var sum = 0.0
                    for (d in row.indices) {
                        val difference = row[d].toDouble() - query[d]
                        sum += difference * difference
                    }
                    sqrt(if (sum <= (squares[i] + square) * ROUNDING) 0.0 else sum)
                }
            }
        }
    }

    /** The numbers of all images, nearest first, equal distances in the gallery's order, and what they are ranked by. */
    fun ranked(distances: DoubleArray): Pair<IntArray, FloatArray> {
        val keys = FloatArray(size) { i ->
            val value = distances[i]
            when (embedding.distance) {
                "l2" -> (value * value).toFloat()
                "cosine" -> if (value < ROUNDING) 0f else value.toFloat()
                else -> value.toFloat()
            }
        }
        // The bits of numbers that are not negative sort as the numbers do.
        val order = LongArray(size) { (keys[it].toRawBits().toLong() shl 32) or it.toLong() }
        order.sort()
        return IntArray(size) { order[it].toInt() } to keys
    }

    private companion object {
        /** 2^-42, far above the rounding of these sums and far below every difference between pictures. */
        const val ROUNDING = 1.0 / (1L shl 42)
    }
}

/**
 * How well a labelled gallery finds itself: every image is a query once and is left out of its own ranking; an image is
 * relevant if it has the query's label.
 *
 * @param queries images with a label; [empty] of them have no other image to find and are in no mean
 * @param mAP mean of average precision over the whole ranking
 * @param mPC mean over k' = 1..k of the precision of the first k' (the paper's Eq. 7 and 8, printed there as mAP@k)
 * @param precision share of queries whose nearest image is relevant
 */
class Scores(val queries: Int, val empty: Int, val mAP: Double, val mPC: Double, val precision: Double)

fun evaluate(features: Features, labels: List<String>, k: Int = 5): Scores {
    val queries = labels.indices.filter { labels[it] != "" }
    val counts = labels.groupingBy { it }.eachCount()
    val answered = queries.filter { counts.getValue(labels[it]) > 1 }
    var average = 0.0
    var meanPrecision = 0.0
    var first = 0.0
    for (query in answered) {
        val (order, keys) = features.ranked(features.distances(features.row(query)))
        val ties = ties(order.filter { it != query }, keys) { labels[it] == labels[query] }
        average += ties.sumOf { it.precisionSum() } / (counts.getValue(labels[query]) - 1)
        meanPrecision += (1..k).sumOf { cut -> ties.sumOf { it.hitsWithin(cut) } / cut } / k
        first += ties.sumOf { it.hitsWithin(1) }
    }
    val count = answered.size.toDouble() // NaN if there is nothing to find
    return Scores(queries.size, queries.size - answered.size, average / count, meanPrecision / count, first / count)
}

/** [hits] relevant ones among [size] images at one distance, after [before] images with [hitsBefore] relevant ones. */
private class Tie(val before: Int, val hitsBefore: Int, val size: Int, val hits: Int) {
    /** Expected number of relevant images among the first [k] of the ranking. */
    fun hitsWithin(k: Int): Double = hits.toDouble() * max(0, min(k - before, size)) / size

    /**
     * Expected sum of the precision at each relevant image. Position j of the tie is relevant with probability hits/size,
     * and (hits-1)/(size-1) of the j-1 before it then are.
     */
    fun precisionSum(): Double {
        val others = if (size > 1) (hits - 1.0) / (size - 1) else 0.0
        return (1..size).sumOf { j -> (hitsBefore + 1 + (j - 1) * others) / (before + j) } * hits / size
    }
}

private fun ties(order: List<Int>, keys: FloatArray, relevant: (Int) -> Boolean): List<Tie> {
    val found = ArrayList<Tie>()
    var start = 0
    var hitsBefore = 0
    while (start < order.size) {
        var end = start
        while (end < order.size && keys[order[end]] == keys[order[start]]) end += 1
        val hits = (start until end).count { relevant(order[it]) }
        if (hits > 0) found.add(Tie(start, hitsBefore, end - start, hits))
        hitsBefore += hits
        start = end
    }
    return found
}
