import os

bind = f"0.0.0.0:{os.environ.get('PORT', '8000')}"
accesslog = "-"
workers = 2
worker_tmp_dir = "/dev/shm"
