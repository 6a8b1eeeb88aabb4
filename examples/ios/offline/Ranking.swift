// Distances, rankings and scores, as Compress computes them: equal distances are ties, and scores are averaged over all
// orders of tied images. Plain Swift.

import Foundation

/// The features of a gallery in memory, to measure distances from a query.
struct Features {
    let embedding: Embedding
    let rows: [[Float]]
    private let squares: [Double]

    /// 2^-42, far above the rounding of these sums and far below every difference between pictures.
    private static let rounding = 1.0 / Double(1 << 42)

    init(_ embedding: Embedding, _ features: [[UInt8]]) throws {
        self.embedding = embedding
        rows = try features.map(embedding.unpack)
        squares = rows.map(squareOf)
    }

    /// From `query` to every image: bits that differ, Euclidean distance, or 1 - cosine. They are ranked at the precision
    /// of float32, so that two copies of one picture tie on every machine.
    func distances(_ query: [Float]) -> [Double] {
        let square = squareOf(query)
        return rows.indices.map { (i: Int) -> Double in
            let row = rows[i]
            switch embedding.distance {
            case "hamming":
                return Double(row.indices.filter { (row[$0] > 0.5) != (query[$0] > 0.5) }.count)
            case "cosine":
                var dot = 0.0
                for d in row.indices { dot += Double(row[d]) * Double(query[d]) }
                let length = squares[i].squareRoot() * square.squareRoot()
                // A zero vector has no direction and is at distance 1 from everything.
                return length > 0 ? 1 - dot / length : 1
            default:
                var sum = 0.0
                for d in row.indices {
                    let difference = Double(row[d]) - Double(query[d])
                    sum += difference * difference
                }
                return sum <= (squares[i] + square) * Features.rounding ? 0 : sum.squareRoot()
            }
        }
    }

    /// The numbers of all images, nearest first, equal distances in the gallery's order, and what they are ranked by.
    func ranked(_ distances: [Double]) -> (order: [Int], keys: [Float]) {
        let keys = distances.map { (value: Double) -> Float in
            switch embedding.distance {
            case "l2": return Float(value * value)
            case "cosine": return value < Features.rounding ? 0 : Float(value)
            default: return Float(value)
            }
        }
        return (keys.indices.sorted { (keys[$0], $0) < (keys[$1], $1) }, keys)
    }
}

private func squareOf(_ row: [Float]) -> Double { row.reduce(0) { $0 + Double($1) * Double($1) } }

/// How well a labelled gallery finds itself: every image is a query once and is left out of its own ranking; an image is
/// relevant if it has the query's label.
struct Scores {
    /// Images with a label.
    let queries: Int
    /// Those with no other image to find; they are in no mean.
    let empty: Int
    /// Mean of average precision over the whole ranking.
    let mAP: Double
    /// Mean over k' = 1..k of the precision of the first k' (the paper's Eq. 7 and 8, printed there as mAP@k).
    let mPC: Double
    /// Share of queries whose nearest image is relevant.
    let precision: Double
}

func evaluate(_ features: Features, _ labels: [String], k: Int = 5) -> Scores {
    let queries = labels.indices.filter { labels[$0] != "" }
    let counts = Dictionary(labels.map { ($0, 1) }, uniquingKeysWith: +)
    var answered = 0.0, average = 0.0, meanPrecision = 0.0, first = 0.0
    for query in queries {
        let relevant = (counts[labels[query]] ?? 0) - 1
        guard relevant > 0 else { continue }
        answered += 1
        let (order, keys) = features.ranked(features.distances(features.rows[query]))
        let found = ties(order.filter { $0 != query }, keys) { labels[$0] == labels[query] }
        average += found.reduce(0) { $0 + $1.precisionSum() } / Double(relevant)
        for cut in 1...k {
            meanPrecision += found.reduce(0) { $0 + $1.hits(within: cut) } / Double(cut * k)
        }
        first += found.reduce(0) { $0 + $1.hits(within: 1) }
    }
    // NaN if there is nothing to find.
    return Scores(
        queries: queries.count, empty: queries.count - Int(answered), mAP: average / answered,
        mPC: meanPrecision / answered, precision: first / answered
    )
}

/// `hits` relevant ones among `size` images at one distance, after `before` images with `hitsBefore` relevant ones.
private struct Tie {
    let before: Int
    let hitsBefore: Int
    let size: Int
    let hits: Int

    /// Expected number of relevant images among the first `k` of the ranking.
    func hits(within k: Int) -> Double { Double(hits * max(0, min(k - before, size))) / Double(size) }

    /// Expected sum of the precision at each relevant image. Position j of the tie is relevant with probability
    /// hits/size, and (hits-1)/(size-1) of the j-1 before it then are.
    func precisionSum() -> Double {
        let others = size > 1 ? Double(hits - 1) / Double(size - 1) : 0
        var sum = 0.0
        for j in 1...size {
            let expected = Double(hitsBefore + 1) + Double(j - 1) * others
            sum += expected / Double(before + j)
        }
        return sum * Double(hits) / Double(size)
    }
}

private func ties(_ order: [Int], _ keys: [Float], _ relevant: (Int) -> Bool) -> [Tie] {
    var found: [Tie] = [], start = 0, hitsBefore = 0
    while start < order.count {
        var end = start
        while end < order.count, keys[order[end]] == keys[order[start]] { end += 1 }
        let hits = order[start..<end].filter(relevant).count
        if hits > 0 { found.append(Tie(before: start, hitsBefore: hitsBefore, size: end - start, hits: hits)) }
        hitsBefore += hits
        start = end
    }
    return found
}
