package android.provider

import android.net.Uri

object MediaStore {
    const val ACTION_IMAGE_CAPTURE = "android.media.action.IMAGE_CAPTURE"
    const val EXTRA_OUTPUT = "output"

    object Images {
        object Media {
            @JvmField val EXTERNAL_CONTENT_URI: Uri = Uri()
        }
    }
}

object OpenableColumns {
    const val DISPLAY_NAME = "_display_name"
}
