SECRET_KEY = "not a secret: there is no session here"
DEBUG = True
ALLOWED_HOSTS = ["*"]
INSTALLED_APPS = ["notes"]
ROOT_URLCONF = "example.urls"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "/data/db.sqlite3"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
