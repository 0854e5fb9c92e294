_base_ = './td-hm_res50_official-8xb64-210e_coco-256x192.py'

# model settings
model = dict(
    backbone=dict(depth=101, init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet101'))
)
