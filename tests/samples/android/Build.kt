package android.os

object Build {
    const val MANUFACTURER = "JVM"
    const val MODEL = "without a phone"

    object VERSION {
        const val RELEASE = "0"
    }
}

class Bundle

interface Parcelable
