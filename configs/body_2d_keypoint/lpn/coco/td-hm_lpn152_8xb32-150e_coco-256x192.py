_base_ = ['./td-hm_lpn50_8xb32-150e_coco-256x192.py']

# model settings
model = dict(backbone=dict(depth=152))
