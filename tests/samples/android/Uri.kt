package android.net

class Uri : android.os.Parcelable
