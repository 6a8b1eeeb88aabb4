package android.view

import android.content.Context

open class View(val context: Context) {
    var contentDescription: CharSequence? = null

    fun setPadding(left: Int, top: Int, right: Int, bottom: Int) = check(left + top + right + bottom >= 0)

    fun setOnClickListener(listener: OnClickListener?) = check(listener != null)

    fun interface OnClickListener {
        fun onClick(view: View)
    }
}

open class ViewGroup(context: Context) : View(context) {
    fun addView(child: View): Unit = error("no screen: $child")

    fun addView(child: View, width: Int, height: Int): Unit = error("no screen: $child, $width, $height")

    fun removeAllViews() = Unit
}
